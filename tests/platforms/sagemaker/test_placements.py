"""A step that SageMaker has no room for goes to its next placement: at once by a quota, and after a machine that never came."""

from __future__ import annotations

from pathlib import Path

from penstock.control.api import start_run
from penstock.control.loop import watch_run
from penstock.control.preparing import prepared
from penstock.control.world import World
from penstock.core.home import Home
from penstock.spec.pipeline import Pipeline
from penstock.store.artifacts import Artifacts
from penstock.store.store import Store
from penstock.testing.emulators.sagemaker import SageMaker
from penstock.testing.emulators.sagemaker.training import KIND


def short_of(cloud: SageMaker) -> None:
    cloud.account.quotas["ml.m5.large for training job usage"] = 0
    cloud.account.dry.add("ml.m5.xlarge")


def test_a_quota_then_a_dry_machine_then_another_platform(cloud: SageMaker, place: tuple[Home, Artifacts], tmp_path: Path) -> None:
    short_of(cloud)
    (tmp_path / "work.py").write_text("def one() -> int:\n    return 1\n")
    placements = [{"machine": "ml.m5.xlarge"}, {"on": "second", "machine": "ml.m5.2xlarge"}]
    step = {"name": "one", "uses": "work:one", "resources": {"machine": "ml.m5.large", "otherwise": placements}}
    sections = {name: cloud.section() for name in ("first", "second")}
    file = Pipeline.model_validate({"name": "p", "steps": [step], "platforms": sections})
    store = Store.open(place[0])
    world = World(store, place[0], "here/1:1:1")
    try:
        ready = prepared(file, tmp_path, "", world)
        run = watch_run(world, start_run(ready, world, deploy=False).id, lambda _: None)
        moves = [event.message for event in store.events.list("run", run.id) if event.type == "step.moved"]
    finally:
        world.close()
        store.close()
    assert run.phase == "succeeded", run.status
    assert run.status["steps"]["one"]["place"] == 2
    assert ["service limit" in moves[0], "CapacityError" in moves[1]] == [True, True]
    types = [job.request["ResourceConfig"]["InstanceType"] for job in cloud.account.of(KIND).values()]
    assert sorted(types) == ["ml.m5.2xlarge", "ml.m5.xlarge"]
