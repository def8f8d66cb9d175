"""Replicas that hang, lie, break and die, too many requests, none to answer: what clients then get, from real processes."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from typing import Any

import httpx
import pytest

from penstock.serving.load import ModelLoad, read_load
from penstock.serving.snapshot import KeyEntry, Protection, Snapshot
from penstock.testing.faults import faulty
from penstock.testing.plain import PLAIN
from penstock.testing.serving import SECRET, RunningGateway, Stage, snapshot_of, wait_for

QUICK = Protection(timeout_s=10.0, first_byte_s=0.4)
FAULTS = ("hang", "garbage", "html", "busy", "close")


def protected(number: int, protection: Protection, *versions: tuple[str, float, Sequence[Any]], model: str = "echo") -> Snapshot:
    snapshot = snapshot_of(number, *versions, model=model)
    return replace(snapshot, models=(replace(snapshot.models[0], protection=protection),))


def both(*snapshots: Snapshot) -> Snapshot:
    return replace(snapshots[0], models=tuple(model for snapshot in snapshots for model in snapshot.models))


def test_whatever_a_replica_does_another_one_answers_and_it_is_left_alone_until_it_is_well(stage: Stage) -> None:
    good, bad = stage.replica("good"), faulty(stage, "bad", "ok")
    gateway = stage.gateway(protected(1, QUICK, ("1", 1.0, [bad, good])))
    for number, fault in enumerate(FAULTS, 2):
        bad.be(fault)
        before = bad.asked
        answers = [gateway.ask(prompt="zyxw") for _ in range(8)]
        assert {(a.status_code, a.headers["x-penstock-replica"]) for a in answers} == {(200, "good")}, fault
        assert bad.asked - before < 8, fault
        bad.be("ok")
        wait_for(lambda: gateway.ask().headers["x-penstock-replica"] == "bad", 8, f"it is used again after {fault}")
        gateway.apply(protected(number, QUICK, ("1", 1.0, [bad, good])))
    assert gateway.metric("penstock_retries_total") >= len(FAULTS)
    assert gateway.metric("penstock_silent_total") >= 1
    blamed = [r["failed_on"] for r in gateway.records(1) if r["failed_on"]]
    assert blamed  # for hanging and for nonsense
    assert all(versions == ["1"] for versions in blamed)
    text = gateway.log.read_text()
    assert SECRET not in text
    assert "zyxw" not in text


@pytest.mark.parametrize(("fault", "blamed"), [("broken", True), ("hang", True), ("html", True), ("busy", False), ("close", False)])
def test_the_version_that_failed_is_in_the_record_of_the_request_that_another_one_answered(stage: Stage, fault: str, blamed: bool) -> None:
    good, bad = stage.replica("good"), faulty(stage, "bad", fault)
    gateway = stage.gateway(protected(1, QUICK, ("1", 0.5, [good]), ("2", 0.5, [bad])))
    answers = [gateway.ask(user=f"{number}") for number in range(12)]
    assert {a.status_code for a in answers} == {200}
    again = [r for r in gateway.records(12) if r["attempts"] > 1]
    assert again
    assert all(r["version"] == "1" and r["failed_on"] == (["2"] if blamed else []) for r in again)
    hidden = gateway.metric('penstock_hidden_failures_total{model="echo",version="2"}')
    assert hidden == sum(len(r["failed_on"]) for r in again)
    assert gateway.metric("penstock_hidden_failures_total{") == hidden
    assert gateway.metric("penstock_failed_total{") == 0, "no client was told of them"
    alone = gateway.ask(headers={"x-penstock-version": "2"})
    if alone.status_code == 502:  # what the client is told is told once
        assert gateway.records(13)[-1]["failed_on"] == []


def test_a_replica_that_answers_500_is_passed_on_and_avoided_when_it_does_nothing_else(stage: Stage) -> None:
    good, bad = stage.replica("good"), faulty(stage, "bad", "error")
    gateway = stage.gateway(protected(1, QUICK, ("1", 1.0, [bad, good])))
    found = Counter(gateway.ask().status_code for _ in range(12))
    assert set(found) == {500, 200}
    assert 5 <= found[500] <= 9  # until the circuit opens, and its probes
    assert gateway.metric('penstock_replicas{model="echo",version="1",state="down"}') == 1
    alone = stage.folder / "alone"
    alone.mkdir()
    other = Stage(alone)
    with other:
        gateway = other.gateway(protected(1, QUICK, ("1", 1.0, [bad])))
        assert {gateway.ask().status_code for _ in range(9)} == {500}


def test_when_none_can_answer_it_is_said_at_once_and_when_to_come_back(stage: Stage) -> None:
    hung, closed = faulty(stage, "hung", "hang"), faulty(stage, "closed", "close")
    gateway = stage.gateway(protected(1, QUICK, ("1", 1.0, [hung, closed])))
    for _ in range(4):
        first = gateway.ask()
        assert (first.status_code, first.json()["error"]["code"]) == (503, "no_replica")
        assert int(first.headers["retry-after"]) >= 1
    began = time.monotonic()
    assert [gateway.ask().status_code for _ in range(5)] == [503] * 5
    assert time.monotonic() - began < 1.5
    hung.be("ok")
    wait_for(lambda: gateway.ask().status_code == 200, 15, "it heals")


def test_a_stopped_process_is_passed_over_and_comes_back(stage: Stage) -> None:
    first, second = stage.replica("r1"), stage.replica("r2")
    gateway = stage.gateway(protected(1, QUICK, ("1", 1.0, [first, second])))
    first.process.send_signal(signal.SIGSTOP)
    try:
        answers = [gateway.ask() for _ in range(8)]
    finally:
        first.process.send_signal(signal.SIGCONT)
    assert {(a.status_code, a.headers["x-penstock-replica"]) for a in answers} == {(200, "r2")}
    wait_for(lambda: gateway.ask().headers["x-penstock-replica"] == "r1", 8, "it is used again")


@pytest.mark.parametrize("fault", ["hang-later", "garbage-later", "close-later"])
def test_a_stream_that_breaks_is_ended_as_broken_and_never_begun_again(stage: Stage, fault: str) -> None:
    first, second = faulty(stage, "one", fault), faulty(stage, "two", fault)
    gateway = stage.gateway(protected(1, Protection(timeout_s=1.0, first_byte_s=0.3, hedge_s=0.2), ("1", 1.0, [first, second])))
    events, whole = gateway.stream()
    assert not whole
    assert events.count(b'"text": "word "') == 2
    assert b"[DONE]" not in events
    assert first.asked + second.asked == 1
    record = gateway.records(1)[0]
    assert (record["stream"], record["attempts"], record["error"]) == (True, 1, "timeout" if fault == "hang-later" else "replica_lost")


def test_a_slow_replica_is_hedged_and_the_loser_is_cancelled(stage: Stage) -> None:
    slow, quick = faulty(stage, "slow", "slow:5"), faulty(stage, "quick", "ok")
    gateway = stage.gateway(protected(1, Protection(hedge_s=0.15), ("1", 1.0, [slow, quick])))
    began = time.monotonic()
    answer = gateway.ask()
    assert (answer.status_code, answer.headers["x-penstock-replica"]) == (200, "quick")
    assert 0.14 < time.monotonic() - began < 2
    wait_for(lambda: slow.dropped == 1, 3, "the slow one is told to stop")
    record = gateway.records(1)[0]
    assert (record["hedged"], record["attempts"], record["replica"]) == (True, 2, "quick")
    assert gateway.metric("penstock_hedged_total") == 1
    gateway.apply(protected(2, Protection(hedge_s=0.15, retry_budget=0.0), ("1", 1.0, [slow, quick])))
    slow.be("slow:0.5")
    answers = {gateway.ask().headers["x-penstock-replica"] for _ in range(2)}
    assert gateway.metric("penstock_hedged_total") == 1, answers


def test_another_model_answers_where_it_is_named_as_fallback_and_never_in_a_circle(stage: Stage) -> None:
    spare = stage.replica("spare", "backup")
    down = faulty(stage, "down", "close")
    main = protected(1, Protection(fallback=("missing", "echo", "backup")), ("1", 1.0, [down]))
    other = protected(1, Protection(fallback=("echo", "backup")), ("1", 1.0, [spare]), model="backup")
    gateway = stage.gateway(both(main, other))
    answer = gateway.ask(user="someone")
    assert (answer.status_code, answer.json()["model"]) == (200, "backup")
    assert (answer.headers["x-penstock-fallback"], answer.headers["x-penstock-replica"]) == ("backup", "spare")
    assert gateway.ask({"x-penstock-version": "1"}).status_code == 503
    spare.stop()
    assert gateway.ask().status_code == 503
    records = gateway.records(3)
    assert [(r["model"], r["fallback_for"]) for r in records] == [("backup", "echo"), ("echo", None), ("backup", "echo")]
    assert gateway.metric('penstock_fallback_total{model="echo"}') == 2


def held(gateway: RunningGateway) -> int:
    return read_load(gateway.folder).get("echo", ModelLoad()).held


def test_requests_wait_for_the_first_replica_and_not_for_ever(stage: Stage) -> None:
    holding = Protection(hold_s=5.0, queue=3)
    gateway = stage.gateway(protected(1, holding, ("1", 1.0, [])))
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(gateway.ask) for _ in range(4)]
        wait_for(lambda: gateway.metric("penstock_held") == 3, 5, "three are held")
        wait_for(lambda: held(gateway) == 3, 5, "the load says so")
        gateway.apply(protected(2, holding, ("1", 1.0, [stage.replica("r1")])))
        assert Counter(w.result().status_code for w in waiting) == {200: 3, 503: 1}
    shed = next(w.result() for w in waiting if w.result().status_code == 503)
    assert (shed.json()["error"]["code"], int(shed.headers["retry-after"]) >= 1) == ("overloaded", True)
    gateway.apply(protected(3, Protection(hold_s=0.3), ("1", 1.0, [])))
    began = time.monotonic()
    late = gateway.ask()
    assert (late.status_code, late.json()["error"]["code"]) == (503, "no_replica")
    assert 0.25 < time.monotonic() - began < 3
    assert read_load(gateway.folder)["echo"].last_request > time.time() - 60


def with_key(snapshot: Snapshot, name: str, **fields: Any) -> tuple[Snapshot, dict[str, str]]:
    secret = f"psk-{name}-0123456789"
    key = KeyEntry(f"key-{name}", name, sha256(secret.encode()).hexdigest(), **fields)
    return replace(snapshot, keys=(*snapshot.keys, key)), {"authorization": f"Bearer {secret}"}


def test_the_least_important_is_shed_and_the_most_important_goes_first(stage: Stage) -> None:
    replica = stage.replica("r1", settings={"step_s": 0.5})
    snapshot, low = with_key(protected(1, Protection(concurrency=1, queue=2), ("1", 1.0, [replica])), "low", priority=0)
    snapshot, high = with_key(snapshot, "high", priority=2)
    gateway = stage.gateway(snapshot)
    order: list[str] = []

    def ask(name: str, headers: dict[str, str]) -> int:
        answer = gateway.ask(headers)
        order.append(name)
        return answer.status_code

    with ThreadPoolExecutor(6) as pool:
        asked = {}
        for name, headers in (("first", {}), ("low", low), ("normal", {}), ("high", high)):
            asked[name] = pool.submit(ask, name, headers)
            time.sleep(0.2)
        statuses = {name: future.result() for name, future in asked.items()}
    assert statuses == {"first": 200, "low": 503, "normal": 200, "high": 200}
    assert order == ["low", "first", "high", "normal"]
    assert gateway.metric("penstock_shed_total") == 1


def test_a_replica_is_given_no_more_than_its_concurrency_and_the_others_wait_their_turn(stage: Stage) -> None:
    replicas = [stage.replica(f"r{n}", settings={"step_s": 0.05}) for n in range(2)]
    gateway = stage.gateway(protected(1, Protection(concurrency=2), ("1", 1.0, replicas)))
    most = [0]

    def look() -> None:
        for replica in replicas:
            health = httpx.get(f"http://127.0.0.1:{replica.route.port}/healthz", **PLAIN).json()
            most[0] = max(most[0], health["in_flight"])

    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(gateway.ask, max_tokens=4) for _ in range(20)]
        while not all(future.done() for future in asked):
            look()
        assert {future.result().status_code for future in asked} == {200}
    assert most[0] == 2


def test_a_client_that_leaves_while_it_waits_makes_room(stage: Stage) -> None:
    replica = stage.replica("r1", settings={"step_s": 0.1})
    gateway = stage.gateway(protected(1, Protection(concurrency=1, queue=1), ("1", 1.0, [replica])))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(gateway.ask, max_tokens=10)
        time.sleep(0.2)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{gateway.url}/v1/completions",
                json={"model": "echo", "prompt": "a"},
                headers={"authorization": f"Bearer {SECRET}"},
                timeout=0.2,
                **PLAIN,
            )
        wait_for(lambda: gateway.metric("penstock_waiting") == 0, 3, "nobody waits")
        assert gateway.ask().status_code == 200
        assert first.result().status_code == 200
    assert sorted(r["status"] for r in gateway.records(3)) == [200, 200, 499]


def test_requests_of_all_workers_together_keep_to_the_concurrency(stage: Stage) -> None:
    gateway: RunningGateway = stage.gateway(
        protected(1, Protection(concurrency=2), ("1", 1.0, [stage.replica("r1", settings={"step_s": 0.02})])), workers=2
    )
    with ThreadPoolExecutor(12) as pool:
        assert {answer.status_code for answer in pool.map(lambda _: gateway.ask(), range(30))} == {200}
    wait_for(lambda: read_load(gateway.folder).get("echo", ModelLoad()).rate > 1, 5, "the load of both is told")
    assert len(list((gateway.folder / "load").iterdir())) == 2
