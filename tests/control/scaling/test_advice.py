"""Vertical advice: each rule fires on its facts and on no others; watching real replicas; really trying settings on a bundle."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import polars
import pytest

from penstock.control.scaling.advice import Facts, ReplicaFacts, Tried, advise
from penstock.control.scaling.facts import advice_for
from penstock.control.scaling.trial import MOST, candidates, try_settings
from penstock.core.errors import ReplicaFailed
from penstock.spec.deploy import Scale
from penstock.spec.steps import BundleConfig, OptimizeConfig
from penstock.stages.bundle.stage import BundleStage
from penstock.stages.optimize.stage import OptimizeStage
from penstock.testing.scaled import ScaledSystem
from penstock.testing.small_models import encoder_model, packaged_minilm
from penstock.testing.stages import FolderInputs, run_stage

GIB = 1 << 30
ENCODER = {"max_batch": 32, "streams": 0, "threads": 0, "inference_precision": "f32"}


def facts(**more: object) -> Facts:
    calm = Facts(8, 16 * GIB, ENCODER, Scale(min=1, max=1), [replica()])
    return dataclasses.replace(calm, **more)  # type: ignore[arg-type]  # names of its fields


def replica(ident: str = "a", **more: object) -> ReplicaFacts:
    return dataclasses.replace(ReplicaFacts(ident, GIB, 1.0, 10.0, 4.0), **more)  # type: ignore[arg-type]  # names of its fields


def told(seen: Facts) -> dict[str, object]:
    return {advice.setting: advice.better for advice in advise(seen)}


def test_numbers_that_ask_for_nothing_give_no_advice() -> None:
    assert advise(facts()) == []
    assert advise(facts(replicas=[])) == []


def test_each_rule_fires_on_its_facts() -> None:
    pair = [replica("a"), replica("b")]
    assert told(facts(replicas=pair)) == {"engine.threads": 4}
    assert told(facts(scale=Scale(min=1, max=40))) == {"scale.max": 15}, "one runs, 14 more fit into nine tenths of 16 GiB"
    assert told(facts(replicas=[replica(batch=30.0, waiting=5.0)])) == {"engine.max_batch": 64}
    assert told(facts(replicas=[replica(batch=30.0, waiting=0.0)])) == {}
    assert told(facts(waiting=9.0)) == {"scale.max": 2}
    assert told(facts(waiting=9.0, replicas=[replica(cores=7.9)])) == {"platform": "more cores"}
    four = [replica(name, cores=0.1) for name in "abcd"]
    assert told(facts(scale=Scale(min=4), replicas=four, settings={})) == {"scale.min": 1}
    sleepy = Scale(min=0, max=1, idle=60)
    assert told(facts(scale=sleepy, cold_start_s=10.0, starts=50.0)) == {"scale.idle": "200s"}
    assert told(facts(scale=Scale(min=1, max=3, down_after=5), cold_start_s=30.0)) == {"scale.down_after": "30s"}


def test_trials_decide_by_speed_and_then_by_thrift() -> None:
    def tried(threads: int, rate: float) -> Tried:
        return Tried({**ENCODER, "threads": threads}, 8, rate, 10, 20, float(threads or 8), GIB)

    slow_now = facts(tried=[tried(0, 100), tried(4, 150), tried(2, 149), tried(1, 80)])
    advice = advise(slow_now)[0]
    assert (advice.setting, advice.now, advice.better) == ("engine.threads", 0, 2)
    assert advice.effect == "1.49 × the requests/s"
    assert "149.0 requests/s" in advice.reason
    assert told(facts(tried=[tried(0, 100), tried(4, 104)])) == {"engine.threads": 4}, "as fast with half the threads"
    assert told(facts(tried=[tried(1, 100), tried(2, 104)], settings={**ENCODER, "threads": 1})) == {}


def test_candidates_begin_with_the_present_setting_and_are_few() -> None:
    found = candidates(ENCODER, 8)
    assert found[0] == {"threads": 0, "streams": 0, "max_batch": 32}
    assert len(found) <= MOST
    assert len({tuple(sorted(one.items())) for one in found}) == len(found)
    assert candidates({"model": "x"}, 8) == [{}]


@pytest.mark.load
def test_running_replicas_are_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScaledSystem(tmp_path, {"scale": {"min": 1}}) as system:
        monkeypatch.setenv("PENSTOCK_HOME", str(system.home.folder))
        asking = threading.Thread(target=lambda: [system.ask(0.05) for _ in range(20)])
        asking.start()
        found = advice_for("m", watch_s=1.0, measure_s=None, tell=lambda _: None)
        asking.join()
    (seen,) = found["facts"]["replicas"]
    assert seen["requests_s"] > 1
    assert seen["memory_bytes"] > 10 << 20
    assert 0 < seen["cores"] < 4
    assert found["facts"]["cold_start_s"] > 0


@pytest.fixture(scope="module")
def encoder_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base, root = packaged_minilm(), tmp_path_factory.mktemp("encoder")
    if base is None:
        pytest.skip("the package that carries MiniLM is not installed")
    model = encoder_model(root / "model", base, ("billing", "cards", "transfers"))
    (root / "rows").mkdir()
    for split in ("train", "validation"):
        polars.DataFrame({"text": ["Where is my card?"] * 20}).write_parquet(root / "rows" / f"{split}.parquet")
    given = FolderInputs({"model": model, "dataset": root / "rows"}, {"model": {"max_length": 64}})
    made = run_stage(OptimizeStage(), OptimizeConfig(task="text-classification", rules=()), root / "optimize", given)
    again = FolderInputs({"model": model, "dataset": root / "rows", "export": made.outputs.root / "export"})
    return run_stage(BundleStage(), BundleConfig(name="small", task="text-classification"), root / "bundle", again).outputs.root / "bundle"


@pytest.mark.slow
@pytest.mark.models
def test_settings_are_really_tried_on_a_bundle(encoder_bundle: Path) -> None:
    one = try_settings(encoder_bundle, {"threads": 1, "max_batch": 8}, seconds=0.5, at_once=4)
    assert one.requests_s > 1
    assert 0 < one.p50_ms <= one.p95_ms
    assert one.memory_bytes > 50 << 20
    with pytest.raises(ReplicaFailed, match="thread_count"):
        try_settings(encoder_bundle, {"thread_count": 1}, seconds=0.5, at_once=1)
