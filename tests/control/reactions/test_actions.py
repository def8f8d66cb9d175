"""Reactions over deployments in memory and a real gateway: cause → action → effect, people in between, crashes anywhere."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.control.contract import Again
from penstock.control.deployments import DeploymentReconciler, get_deployment
from penstock.control.gateway import stop_gateway
from penstock.control.reactions.guard import ENDED
from penstock.control.reactions.orders import answer_reaction
from penstock.control.reactions.reconciler import ReactionReconciler
from penstock.control.reactions.rows import consider, reaction_row
from penstock.control.rollouts.orders import start_rollout
from penstock.control.rollouts.reconciler import RolloutReconciler
from penstock.control.world import LEASE_S, World
from penstock.core.errors import BadInput, NotFound
from penstock.spec.react import Reaction
from penstock.store.resources import Resource
from penstock.testing.control import Bench, Crash
from penstock.testing.deployments import live, process, settle, want, weights

RECONCILERS: dict[str, Any] = {r.kind: r for r in (DeploymentReconciler(), RolloutReconciler(), ReactionReconciler())}
CAUSE = {"says": "error_rate 9 % over 5 %", "signal": "error_rate", "value": 0.09}


def rule(**settings: Any) -> Reaction:
    return Reaction.model_validate({"when": "error_rate > 5% for 1m", **settings})


def turn(world: World, bench: Bench, row: Resource) -> None:
    for kind in ("reaction", "rollout", "deployment"):
        found = row if kind == "reaction" else world.store.resources.find(kind, "m")
        if found is None:
            continue
        found = world.store.resources.get(kind, found.id)
        if found.due_at is None or not world.store.resources.take(kind, found.id, world.owner, LEASE_S):
            continue
        outcome = RECONCILERS[kind].reconcile(found, world)
        due = bench.clock.now() + outcome.after_s if isinstance(outcome, Again) else None
        world.store.resources.release(kind, found.id, world.owner, due)
    time.sleep(0.02)
    bench.clock.sleep(0.5)


def drive(world: World, bench: Bench, row: Resource, until: Callable[[Resource], bool] = lambda row: row.phase in ENDED) -> Resource:
    for _ in range(120):
        turn(world, bench, row)
        found = world.store.resources.get("reaction", row.id)
        if until(found):
            return found
    raise AssertionError(f"did not come to it: {found.phase} {found.status}")


def serving(served: Any, *versions: int) -> tuple[Bench, Any, World]:
    bench, endpoints = served()
    world = process(bench, endpoints)
    bench.store.registry.set_alias("m", "champion", versions[-1], "test")
    for version in versions:
        want(world, version, strategy={"canary": [0.5], "hold": 1000.0})
        settle(world, bench, live(version))
        settle(world, bench, lambda row: row.phase == "live")
    return bench, endpoints, world


def caused(world: World, **settings: Any) -> Resource:
    _, made = consider(world, get_deployment(world, "m"), rule(**settings), CAUSE)
    assert made is not None
    return made


def test_back_to_the_version_before(served: Any) -> None:
    bench, _, world = serving(served, 1, 2)
    row = caused(world, do="rollback")
    found = drive(world, bench, row)
    assert (found.phase, found.status["says"]) == ("done", "version 1 serves all requests again, instead of 2")
    assert weights(bench) == {"1": 1.0}
    assert bench.store.registry.aliases("m") == {"champion": 1}
    told = [(e.type, e.message) for e in bench.store.events.list("reaction", row.id)]
    assert told[0] == ("reaction.caused", "error_rate > 5% for 1m: rollback; error_rate 9 % over 5 %")
    assert told[-1] == ("reaction.done", "version 1 serves all requests again, instead of 2")
    shown = reaction_row(found)
    assert shown["steps"][0]["effect"] == {"from": 2, "to": 1}
    audited = [e.action for e in bench.store.audit.all()]
    assert "reaction.start" in audited
    assert "reaction.done" in audited


def test_a_rollout_under_way_is_called_off(served: Any) -> None:
    bench, _, world = serving(served, 1)
    start_rollout(world, get_deployment(world, "m"), 2, principal="test", cause={})
    for _ in range(12):
        turn(
            world,
            bench,
            world.store.resources.create(
                "reaction", "other", {"deployment": "m", "actions": [], "dry_run": False}, phase="done", due_at=None
            ),
        )
    assert weights(bench) == {"1": 0.5, "2": 0.5}
    found = drive(world, bench, caused(world, do="rollback"))
    assert (found.phase, found.status["says"]) == ("done", "version 2 was sent back; 1 serves all requests")
    assert weights(bench)["1"] == 1.0


def test_there_may_be_nothing_to_go_back_to(served: Any) -> None:
    bench, _, world = serving(served, 1)
    found = drive(world, bench, caused(world, do="rollback"))
    assert found.phase == "failed"
    assert "the only one that ever served" in found.status["says"]


def test_shift_and_scale_in_turn(served: Any) -> None:
    bench, _, world = serving(served, 1, 2)
    row = caused(world, do=["shift", "scale_up"], **{"with": {"to": "previous", "share": "30%", "by": 2}})
    found = drive(world, bench, row)
    assert found.phase == "done"
    settle(world, bench, lambda row: row.phase == "live")
    assert weights(bench) == {"2": 0.7, "1": 0.3}
    deployment = get_deployment(world, "m")
    assert (deployment.spec["replicas"], deployment.spec["deploy"]["scale"]["max"]) == (3, 3)
    assert [step["phase"] for step in found.status["steps"]] == ["done", "done"]
    down = drive(world, bench, caused(world, do="scale_down", cooldown=0, name="down", **{"with": {"by": 5}}))
    assert down.phase == "done"
    assert get_deployment(world, "m").spec["replicas"] == 1
    assert drive(world, bench, caused(world, do="scale_down", cooldown=0, name="down")).phase == "failed"


def test_stop_takes_it_out_of_service(served: Any) -> None:
    bench, _, world = serving(served, 1)
    found = drive(world, bench, caused(world, do="stop"))
    assert "`penstock deploy m --name m` brings it back" in found.status["says"]
    turn(world, bench, found)
    assert (world.store.resources.find("deployment", "m") or found).phase == "deleted"


def test_a_person_is_asked_and_answers(served: Any) -> None:
    bench, _, world = serving(served, 1, 2)
    row = caused(world, do="ask", **{"with": {"question": "Go back?", "then": "rollback"}})
    found = drive(world, bench, row, lambda row: row.phase == "asking")
    assert found.status["says"] == "Go back?"
    assert weights(bench) == {"2": 1.0}
    with pytest.raises(NotFound):
        answer_reaction(world, "reaction-x", True, principal="ann")
    answer_reaction(world, row.id, True, principal="ann", comment="it hurts")
    found = drive(world, bench, row)
    assert found.phase == "done"
    assert found.status["says"].startswith("ann said yes: it hurts; version 1 serves")
    with pytest.raises(BadInput, match="is over"):
        answer_reaction(world, row.id, True, principal="bob")


def test_what_comes_to_nothing_again_and_again_is_asked_about(served: Any) -> None:
    bench, _, world = serving(served, 1)
    for _ in range(2):
        assert drive(world, bench, caused(world, do="rollback", cooldown=0, attempts=2)).phase == "failed"
    row = caused(world, do="rollback", cooldown=0, attempts=2)
    found = drive(world, bench, row, lambda row: row.phase == "asking")
    assert found.status["says"] == "rollback: it came to nothing 2 times in a row; try once more?"
    answer_reaction(world, row.id, False, principal="ann")
    assert drive(world, bench, row).phase == "declined"


def test_a_rehearsal_does_nothing(served: Any) -> None:
    bench, _, world = serving(served, 1, 2)
    found = drive(world, bench, caused(world, do=["rollback", "stop"], dry_run=True))
    assert (found.phase, found.status["says"]) == ("rehearsed", "it would have done: rollback, stop")
    assert weights(bench) == {"2": 1.0}


def test_once_for_a_cause_and_not_while_it_rests(served: Any) -> None:
    bench, _, world = serving(served, 1, 2)
    row = caused(world, do="rollback", cooldown="1h")
    deployment = get_deployment(world, "m")
    again = consider(world, deployment, rule(do="rollback", cooldown="1h"), CAUSE)
    assert again == (again[0], None)
    assert "under way" in again[0].says
    drive(world, bench, row)
    assert "rests for 3600 s" in consider(world, deployment, rule(do="rollback", cooldown="1h"), CAUSE)[0].says
    bench.clock.sleep(3601)
    assert consider(world, deployment, rule(do="rollback", cooldown="1h"), CAUSE)[1] is not None


SCRIPT = """
import json, os, pathlib, sys
with pathlib.Path(sys.argv[1]).open("a") as file:
    file.write(json.loads(os.environ["PENSTOCK_REACTION"])["cause"]["says"] + chr(10))
print("said")
"""


def test_a_command_runs_once_with_what_happened(served: Any, tmp_path: Path) -> None:
    bench, _, world = serving(served, 1)
    out = tmp_path / "out"
    row = caused(world, do="run", **{"with": {"command": [sys.executable, "-c", SCRIPT, str(out)]}})
    found = drive(world, bench, row)
    assert found.phase == "done", found.status
    assert out.read_text() == "error_rate 9 % over 5 %\n"
    assert found.status["steps"][0]["effect"]["output"] == "said\n"
    for command, limit, says in (
        (["/no/such/program"], "1m", "cannot be started"),
        ([sys.executable, "-c", "raise SystemExit(3)"], "1m", "ended with 3"),
        ([sys.executable, "-c", "import time; time.sleep(60)"], 0.2, "took longer than 0.2 s"),
    ):
        given = {"with": {"command": command, "timeout": limit}}
        found = drive(world, bench, caused(world, do="run", cooldown=0, attempts=9, name="other", **given))
        assert found.phase == "failed"
        assert says in found.status["says"]


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(crashes=st.lists(st.integers(1, 14), min_size=4, max_size=12))
def test_crashes_anywhere_go_back_once(served: Any, crashes: list[int]) -> None:
    bench, endpoints, world = serving(served, 1, 3, 2)
    row = caused(world, do="rollback")
    for point in crashes:
        dying = process(bench, endpoints, crash_at=point)
        with contextlib.suppress(Crash):
            for _ in range(3):
                turn(dying, bench, row)
        bench.clock.sleep(LEASE_S + 1)
    found = drive(process(bench, endpoints), bench, row)
    assert (found.phase, found.status["says"]) == ("done", "version 3 serves all requests again, instead of 2")
    assert bench.store.registry.aliases("m") == {"champion": 3}
    assert [e.type for e in bench.store.events.list("reaction", row.id)].count("reaction.done") == 1
    assert json.dumps(reaction_row(found))
    stop_gateway(bench.home)
