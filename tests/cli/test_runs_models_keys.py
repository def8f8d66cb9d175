"""Runs, models and keys: what is stored is shown, and what is changed is audited."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from penstock.core.digests import digest_json, hex_of
from penstock.store import owners
from penstock.store.keys import Terms

if TYPE_CHECKING:
    from penstock.store.resources import Resource
    from penstock.store.store import Store

KEY = digest_json("a step")


def made_run(store: Store, name: str = "intents", phase: str = "running", accuracy: float = 0.9, epochs: int = 3) -> Resource:
    step = {
        "phase": "running",
        "key": KEY,
        "attempt": 1,
        "started_at": 100.0,
        "progress": {"done": 5, "total": 10, "unit": "samples", "facts": {"loss": 0.5}},
    }
    status = {
        "steps": {
            "data": {"phase": "cached", "key": digest_json("data"), "seconds": 0.0, "outputs": {"dataset": digest_json("d")}},
            "train": step,
        },
        "metrics": {"accuracy": accuracy},
        "gates": [{"gate": "accuracy >= 0.9", "passed": accuracy >= 0.9, "reason": f"{accuracy}"}],
        "started_at": 100.0,
    }
    spec = {
        "pipeline": {"name": name, "train": {"epochs": epochs}},
        "graph": [{"name": "train"}, {"name": "data"}],
        "file": "penstock.yaml",
        "set": [],
    }
    return store.resources.create("run", name, spec, phase=phase, status=status)


def write_log(folder: Path, text: str, attempt: int = 1) -> Path:
    file = folder / ".penstock" / "jobs" / hex_of(KEY) / str(attempt) / "log"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


class TestNothingYet:
    @pytest.mark.parametrize(
        ("command", "key"),
        [(["runs"], "runs"), (["runs", "list"], "runs"), (["models"], "models"), (["keys"], "keys"), (["deployments"], "deployments")],
    )
    def test_lists_are_empty_and_make_no_folder(self, call, folder: Path, command: list[str], key: str) -> None:
        assert call(*command).code == 0
        assert call(*command, "--json").json == {key: []}
        assert list(folder.iterdir()) == []

    def test_status_and_down_make_no_folder(self, call, folder: Path) -> None:
        assert call("status", "--json").json["deployments"] == []
        nothing = {"control": False, "gateway": False, "replicas": 0, "elsewhere": 0, "left": [], "unknown": []}
        assert call("down", "--json").json == nothing
        assert list(folder.iterdir()) == []

    @pytest.mark.parametrize(
        "command", [["runs", "show"], ["runs", "logs"], ["models", "show", "x"], ["keys", "revoke", "x"], ["runs", "cancel", "x"]]
    )
    def test_asking_for_one_says_where_it_looked(self, call, folder: Path, command: list[str]) -> None:
        told = call(*command, "--json")
        assert (told.code, told.error["code"]) == (2, "not-found")
        assert ".penstock" in told.error["message"]
        assert list(folder.iterdir()) == []


class TestRuns:
    def test_list(self, call, store: Store) -> None:
        old, new = made_run(store, phase="succeeded"), made_run(store, "other")
        listed = call("runs", "--json").json["runs"]
        assert [r["run"] for r in listed] == [new.id, old.id]
        assert listed[0]["steps"] == {"done": 1, "total": 2}
        assert call("runs", "list", "--pipeline", "intents", "--json").json["runs"][0]["run"] == old.id
        assert old.id in call("runs").out

    @pytest.mark.parametrize("how", ["id", "beginning", "pipeline", "latest"])
    def test_show(self, call, store: Store, how: str) -> None:
        run = made_run(store)
        store.events.add("run", run.id, "run.created", "2 steps", None)
        name = {"id": run.id, "beginning": run.id[:-2], "pipeline": "intents", "latest": "latest"}[how]
        shown = call("runs", "show", name, "--json").json
        assert shown["run"] == run.id
        assert [(s["name"], s["phase"]) for s in shown["steps"]] == [("train", "running"), ("data", "cached")]
        assert shown["metrics"] == {"accuracy": 0.9}
        assert shown["gates"][0]["passed"] is True
        assert shown["events"][0]["message"] == "2 steps"
        told = call("runs", "show", name).out
        assert "50 %  5/10 samples" in told
        assert "loss 0.5" in told

    def test_an_unclear_beginning(self, call, store: Store) -> None:
        made_run(store)
        made_run(store)
        told = call("runs", "show", "run-0", "--json")
        assert told.code == 2
        assert "begins 2 run ids" in told.error["message"]

    def test_cancel_sets_the_wish_and_is_audited(self, call, store: Store) -> None:
        run = made_run(store)
        assert store.resources.take("run", run.id, "elsewhere:1:1", 60)  # a process that lives and will see the wish
        assert call("runs", "cancel", run.id, "--json").json == {"run": run.id, "status": "running", "cancel": True}
        again = store.resources.get("run", run.id)
        assert again.spec["cancel"] is True
        assert again.generation == run.generation + 1
        assert [e.action for e in store.audit.list()] == ["run.cancel"]
        assert store.audit.verify() == 1

    def test_cancel_is_carried_out_where_the_process_is_gone(self, call, store: Store) -> None:
        run = made_run(store)
        platform = {"platform": {"name": "laptop", "config": {"kind": "local"}}}
        graph = [{"name": name, "stage": "user", "config": {}, "inputs": {}} for name in ("train", "data")]
        store.resources.set_spec("run", run.id, {**run.spec, **platform, "graph": graph})
        assert call("runs", "cancel", run.id, "--json").json == {"run": run.id, "status": "cancelled", "cancel": True}
        assert store.resources.get("run", run.id).status["steps"]["train"]["phase"] == "cancelled"

    def test_cancel_after_the_end_changes_nothing(self, call, store: Store) -> None:
        run = made_run(store, phase="succeeded")
        assert call("runs", "cancel", run.id, "--json").json["cancel"] is False
        assert "cancel" not in store.resources.get("run", run.id).spec

    def test_compare(self, call, store: Store) -> None:
        one, two = made_run(store, accuracy=0.9, epochs=3), made_run(store, accuracy=0.92, epochs=8)
        found = call("runs", "compare", one.id, two.id, "--json").json
        assert found["changed"] == ["train.epochs changed from 3 to 8"] or "train.epochs" in found["changed"][0]
        assert found["metrics"][0]["difference"] == pytest.approx(0.02)
        assert "+0.02" in call("runs", "compare", one.id, two.id).out


class TestLogs:
    def test_following_says_when_nobody_drives_the_run(self, call, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        run = made_run(store)
        gone = f"{owners.host()}:4194305:1"  # above the highest process number of Linux
        assert store.resources.take("run", run.id, gone, 60)

        def end_it(_: object, __: float) -> None:
            store.resources.save("run", run.id, gone, status=run.status, phase="cancelled", due_at=None)

        monkeypatch.setattr("penstock.core.clock.SystemClock.sleep", end_it)
        assert "is gone" in call("runs", "logs", run.id, "-f").err

    def test_what_ended_a_step_follows_its_log(self, call, store: Store, folder: Path) -> None:
        run = made_run(store, phase="failed")
        write_log(folder, "first\n")
        trace = ['  File "work.py", line 7, in read', "ValueError: no"]
        for error, end in (
            ({"code": "step-failed", "message": "ValueError: no", "trace": trace}, trace),
            ({"code": "column-missing", "message": "no column 'x'", "trace": trace}, ["no column 'x'"]),
        ):
            status = {**run.status, "steps": {"train": {**run.status["steps"]["train"], "phase": "failed", "error": error}}}
            assert store.resources.take("run", run.id, "test:1:1", 60)
            store.resources.save("run", run.id, "test:1:1", status=status, phase="failed", due_at=None)
            assert call("runs", "logs", run.id, "--step", "train").out.splitlines() == ["first", *end]

    def test_plain_lines_and_structured_ones(self, call, store: Store, folder: Path) -> None:
        run = made_run(store, phase="failed")
        structured = [{"log": {"message": "said"}}, {"progress": {"done": 1}}, {"point": {"name": "loss", "value": 0.5, "step": 3}}]
        lines = ["first", *(f"::penstock {json.dumps(value)}" for value in structured), "::penstock {cut"]
        write_log(folder, "\n".join(lines))
        write_log(folder, "again\n", attempt=2)
        assert call("runs", "logs", run.id).out.splitlines() == [
            "train: first",
            "train: said",
            "train: loss 0.5 at step 3",
            "train: ::penstock {cut",
            "train: again",
        ]
        assert call("runs", "logs", run.id, "--step", "train").out.startswith("first\n")
        parsed = [json.loads(line) for line in call("runs", "logs", run.id, "--json").out.splitlines()]
        assert parsed[0] == {"step": "train", "line": "first"}

    def test_an_unknown_step(self, call, store: Store) -> None:
        run = made_run(store, phase="failed")
        assert "has no step 'tarin' (it has: train, data)" in call("runs", "logs", run.id, "--step", "tarin").err

    def test_bytes_that_are_no_text(self, call, store: Store, folder: Path) -> None:
        run = made_run(store, phase="failed")
        write_log(folder, "").write_bytes(b"\xff\xfe ok\n")
        assert call("runs", "logs", run.id).out == "train: \ufffd\ufffd ok\n"

    def test_follow_until_the_end(self, call, store: Store, folder: Path) -> None:
        run = made_run(store)
        file = write_log(folder, "one\nhal")

        def go_on() -> None:
            time.sleep(0.5)
            with file.open("a") as log:
                log.write("f\ntwo\n")
            assert store.resources.take("run", run.id, "me", 10)
            store.resources.save("run", run.id, "me", status=run.status, phase="succeeded", due_at=None)

        writer = threading.Thread(target=go_on)
        writer.start()
        told = call("runs", "logs", run.id, "-f")
        writer.join()
        assert told.out.splitlines() == ["train: one", "train: half", "train: two"]


class TestModels:
    @pytest.fixture
    def versions(self, store: Store) -> list[Any]:
        made = []
        for number, state in ((1, "passed"), (2, "refused")):
            found = store.registry.register(
                "intents",
                digest_json(number),
                run=f"run-{number}",
                task="text-classification",
                metrics={"accuracy": 0.9 + number / 100},
                gates=[{"gate": "accuracy >= 0.9", "passed": state == "passed", "reason": "measured"}],
                facts={"data.dataset": digest_json("d")},
            )
            store.registry.set_state("intents", number, state)
            made.append(found)
        store.registry.set_alias("intents", "champion", 1, "test")
        return made

    @pytest.mark.usefixtures("versions")
    def test_list_and_show(self, call) -> None:
        listed = call("models", "--json").json["models"]
        assert [(m["version"], m["aliases"], m["state"]) for m in listed] == [(2, [], "refused"), (1, ["champion"], "passed")]
        shown = call("models", "show", "intents", "champion", "--json").json
        assert (shown["version"], shown["digest"]) == (1, digest_json(1))
        assert "gate     accuracy >= 0.9: passed (measured)" in call("models", "show", "intents", "1").out
        assert call("models", "show", "intents", "--json").json["version"] == 2

    @pytest.mark.usefixtures("versions")
    def test_promote_moves_the_alias_and_is_audited(self, call, store: Store) -> None:
        told = call("models", "promote", "intents", "2", "--json")
        assert (told.code, told.error["code"]) == (3, "gate-refused")
        assert "accuracy >= 0.9 (measured)" in told.error["message"]
        assert store.registry.aliases("intents") == {"champion": 1}
        assert store.audit.list() == []
        assert call("models", "promote", "intents", "2", "--force").code == 0
        assert store.registry.aliases("intents") == {"champion": 2}
        entry = store.audit.list()[0]
        assert (entry.action, entry.subject) == ("model.promote", "intents:2")
        assert entry.detail == {"alias": "champion", "before": 1, "state": "refused", "forced": True}
        data = call("models", "promote", "intents", "1", "--alias", "challenger", "--json").json
        assert data == {"model": "intents", "version": 1, "alias": "challenger", "before": None, "digest": digest_json(1)}

    @pytest.mark.usefixtures("versions")
    def test_compare(self, call) -> None:
        found = call("models", "compare", "intents", "1", "2", "--json").json
        assert found["metrics"][0]["difference"] == pytest.approx(0.01)
        assert found["same_bundle"] is False

    @pytest.mark.usefixtures("versions")
    @pytest.mark.parametrize(
        "arguments", [("show", "nope"), ("show", "intents", "9"), ("show", "intents", "best"), ("promote", "intents", "9")]
    )
    def test_unknown_ones(self, call, store: Store, arguments: tuple[str, ...]) -> None:
        told = call("models", *arguments, "--json")
        assert (told.code, told.error["code"]) == (2, "not-found")
        assert store.audit.list() == []


class TestKeys:
    def test_the_key_is_shown_once_and_only_its_digest_is_kept(self, call, store: Store) -> None:
        made = call("keys", "create", "ci", "--json").json
        assert made["key"].startswith("psk-")
        kept = store.keys.list()[0]
        assert kept.sha256 == hashlib.sha256(made["key"].encode()).hexdigest()
        assert made["key"] not in call("keys", "--json").out + call("keys").out
        assert made["key"] not in str(store.audit.list())

    def test_plain_output_is_the_key_alone(self, call) -> None:
        told = call("keys", "create")
        assert told.out.startswith("psk-")
        assert len(told.out.splitlines()) == 1
        assert "cannot be shown again" in told.err

    def test_revoke(self, call, store: Store) -> None:
        made = call("keys", "create", "ci", "--json").json
        assert call("keys", "revoke", "ci", "--json").json["revoked"][0]["id"] == made["id"]
        assert call("keys", "revoke", "ci").code == 2
        assert call("keys", "list", "--json").json["keys"][0]["revoked_at"] is not None
        assert [e.action for e in store.audit.list()] == ["key.create", "key.revoke"]

    def test_limits_are_given_changed_shown_and_audited(self, call, store: Store) -> None:
        given = ("--requests-per-minute", "60", "--concurrency", "4", "--budget", "20USD", "--period", "day", "--model", "chat")
        made = call("keys", "create", "ci", *given, "--json").json
        assert (made["requests_per_minute"], made["budget_usd"], made["models"]) == (60, 20, ["chat"])
        other = ("--requests-per-minute", "none", "--priority", "low", "--model", "none")
        changed = call("keys", "limit", "ci", *other, "--json").json["limited"]
        assert [c["id"] for c in changed] == [made["id"]]
        listed = call("keys", "list", "--json").json["keys"][0]
        assert listed["requests_per_minute"] is None
        assert (listed["concurrency"], listed["budget_usd"], listed["budget_period"]) == (4, 20, "day")
        assert (listed["priority"], listed["models"]) == ("low", [])
        assert listed["spent"] is None
        assert "4 at once; 20 USD a day; low priority" in call("keys").out
        assert [e.action for e in store.audit.list()] == ["key.create", "key.limit"]
        assert store.audit.list()[1].detail["priority"] == "low"

    @pytest.mark.parametrize(
        "wrong",
        [("--concurrency", "two"), ("--concurrency", "0"), ("--budget", "20 EUR"), ("--period", "week"), ("--priority", "urgent"), ()],
    )
    def test_limits_that_make_no_sense_are_refused(self, call, store: Store, wrong: tuple[str, ...]) -> None:
        call("keys", "create", "ci")
        told = call("keys", "limit", "ci", *wrong, "--json")
        assert told.code == 2
        assert store.keys.list()[0].terms == Terms()

    @pytest.mark.usefixtures("store")
    def test_what_was_spent_is_shown_and_what_cannot_be_read_is_said(self, call) -> None:
        from penstock.core.home import Home
        from penstock.serving.limits import Limiter
        from penstock.serving.snapshot import KeyEntry

        made = call("keys", "create", "ci", "--budget", "2", "--json").json
        entry = KeyEntry(made["id"], "ci", "0")
        limiter = Limiter(Home.find().gateway)
        limiter.configure([entry])
        limiter.settle(limiter.admit(entry, 1, 0.0), 1, 0.75)
        limiter.close()
        assert call("keys", "list", "--json").json["keys"][0]["spent"] == {"day_usd": 0.75, "month_usd": 0.75, "total_usd": 0.75}
        assert "0.7500 USD" in call("keys").out
        (Home.find().gateway / "limits" / "state").write_bytes(b"gone wrong")
        assert "not a file of Penstock's" in call("keys", "list", "--json").json["problem"]
        assert "move it away" in call("keys").err
