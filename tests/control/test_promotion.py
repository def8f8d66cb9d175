"""Where a version goes that passed its gates: in the champion's place, or beside it when the file's traffic names a challenger."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.control.deployments import get_deployment, phase_of
from penstock.control.promotion import promote
from penstock.control.split import split_of
from penstock.control.state import RunState, StepState
from penstock.control.world import World
from penstock.testing.deployments import DIGESTS, live, process, settle, weights

EXPERIMENT = {"traffic": {"experiment": {"share": 0.2}}}


def run_of(world: World, version: int, deploy: dict[str, Any]) -> tuple[Any, RunState]:
    """A run of pipeline `m` whose steps and gates are done and whose version is registered."""
    row = world.store.resources.create("run", "m", {"pipeline": {"deploy": deploy}, "platforms": {}, "graph": []}, phase="running")
    state = RunState(steps={"bundle": StepState(phase="succeeded", outputs={"bundle": DIGESTS[version]})})
    state.gates, state.model = [], {"name": "m", "version": version, "digest": DIGESTS[version]}
    return row, state


def test_the_first_version_is_champion_and_the_next_one_challenges_it(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    row, state = run_of(world, 1, EXPERIMENT)
    assert promote(row, [], state, world) == "deploying"
    settle(world, bench, live(1))
    assert promote(row, [], state, world) == "succeeded"
    assert bench.store.registry.aliases("m") == {"champion": 1}

    row, state = run_of(world, 2, EXPERIMENT)
    assert promote(row, [], state, world) == "deploying"
    settle(world, bench, lambda r: phase_of(r) == "live")
    assert promote(row, [], state, world) == "succeeded"
    assert bench.store.registry.aliases("m") == {"champion": 1, "challenger": 2}
    assert weights(bench) == {"1": 1.0}, "the champion serves until the experiment begins"
    begun = bench.store.resources.find("experiment", "m")
    assert (begun.spec["champion"]["version"], begun.spec["challenger"]["version"]) == (1, 2)


@pytest.mark.parametrize(
    "deploy", [{"to": "laptop"}, {"traffic": {"headers": [{"header": "x-beta", "value": "1", "version": "previous"}]}}]
)
def test_without_a_place_for_a_challenger_the_new_version_takes_over(served: Any, deploy: dict[str, Any]) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    for version in (1, 2):
        row, state = run_of(world, version, deploy)
        promote(row, [], state, world)
        settle(world, bench, live(version))
        assert promote(row, [], state, world) == "succeeded"
    assert bench.store.registry.aliases("m") == {"champion": 2}


def test_with_a_strategy_the_next_version_is_rolled_out_and_the_run_ends_as_that_does(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    strategy = {"strategy": {"canary": [0.5, 1.0]}, "rollback_when": ["error_rate > 5%"]}
    row, state = run_of(world, 1, strategy)
    assert promote(row, [], state, world) == "deploying"
    settle(world, bench, live(1))
    assert promote(row, [], state, world) == "succeeded", "there is nothing to roll out against"

    for version, phase, ends in ((2, "rolled_back", "rolled_back"), (3, "watching", "succeeded"), (3, "stopped", "succeeded")):
        row, state = run_of(world, version, {**strategy, "protect": {"retries": 3 + version}})
        assert promote(row, [], state, world) == "deploying"
        assert promote(row, [], state, world) == "deploying"
        rollouts = [r for r in bench.store.resources.list("rollout") if r.spec["cause"] == {"run": row.id}]
        assert len(rollouts) == 1, "asked for once, however often the run is looked at"
        assert (rollouts[0].spec["new"]["version"], rollouts[0].spec["conditions"]) == (version, ["error_rate > 5%"])
        assert bench.store.registry.aliases("m") == {"champion": 1, "challenger": version}
        settle(world, bench, live(1))
        assert weights(bench) == {"1": 1.0}
        assert get_deployment(world, "m").spec["deploy"]["protect"] == {"retries": 3 + version}, "the other sections hold at once"
        assert world.store.resources.take("rollout", rollouts[0].id, world.owner, 15.0)
        world.store.resources.save("rollout", rollouts[0].id, world.owner, status={"reason": "because"}, phase=phase, due_at=None)
        assert promote(row, [], state, world) == ends
        assert state.deployment is not None
        assert state.deployment["reason"] == "because"


def test_the_same_run_again_does_not_disturb_an_experiment_at_work(served: Any) -> None:
    from penstock.control.experiments import ExperimentReconciler

    bench, endpoints = served()
    world = process(bench, endpoints)
    for version in (1, 2):
        row, state = run_of(world, version, EXPERIMENT)
        promote(row, [], state, world)
        settle(world, bench, lambda r: phase_of(r) == "live")
    experiment = bench.store.resources.find("experiment", "m")
    assert world.store.resources.take("experiment", experiment.id, world.owner, 10)
    ExperimentReconciler().reconcile(experiment, world)
    settle(world, bench, lambda r: phase_of(r) == "live")
    assert weights(bench) == {"1": 0.8, "2": 0.2}
    row, state = run_of(world, 2, EXPERIMENT)
    promote(row, [], state, world)
    assert get_deployment(world, "m").spec["experiment"] == experiment.id
    row, state = run_of(world, 3, EXPERIMENT)  # another challenger is another experiment
    promote(row, [], state, world)
    assert get_deployment(world, "m").spec["experiment"] is None
    assert [part.version for part in split_of(get_deployment(world, "m").spec)] == [1]
    settle(world, bench, lambda r: phase_of(r) == "live")
    assert bench.store.resources.find("experiment", "m").spec["challenger"]["version"] == 3
