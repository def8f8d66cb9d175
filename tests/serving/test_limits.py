"""Limits of keys: refusals say when to come back, budgets stay closed through kills, clock jumps, damage and several processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.serving import limits as module
from penstock.serving import spend_file
from penstock.serving.errors import RequestRefused
from penstock.serving.limits import Limiter, Pass
from penstock.serving.snapshot import KeyEntry, KeyLimits
from penstock.serving.spend import BLOCK, DAY_USD, MARK, SpendUnreadable, read_spend

Make = Callable[..., Limiter]


def key(ident: str = "key-1", **limits: Any) -> KeyEntry:
    return KeyEntry(ident, ident, "0" * 64, limits=KeyLimits(**limits))


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Make]:
    with contextlib.ExitStack() as stack:

        def make(*keys: KeyEntry, worker: int | None = None) -> Limiter:
            limiter = Limiter(tmp_path, worker)
            stack.callback(limiter.close)
            limiter.configure(keys)
            return limiter

        yield make


def refused(limiter: Limiter, entry: KeyEntry, tokens: int = 1, now: float = 0.0, cost: float = 0.0) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        limiter.admit(entry, tokens, now, cost)
    return caught.value


def headers(lines: bytes) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in lines.decode().split("\r\n") if line)


def test_requests_a_minute_are_held_and_the_wait_is_honest(made: Make) -> None:
    entry = key(requests_per_minute=30)
    limiter = made(entry)
    now = 1000.0
    for _ in range(30):
        limiter.settle(limiter.admit(entry, 5, now), 5, 0.0)
    error = refused(limiter, entry, 5, now)
    assert (error.status, error.code) == (429, "rate_limit_exceeded")
    told = headers(error.headers)
    assert told["retry-after"] == "2"
    assert told["x-ratelimit-limit-requests"] == "30"
    assert told["x-ratelimit-remaining-requests"] == "0"
    assert told["x-ratelimit-reset-requests"] == "1m0s"
    assert refused(limiter, entry, 5, now + 1.9).code == "rate_limit_exceeded"
    limiter.admit(entry, 5, now + 2.0)


def test_tokens_go_by_estimate_and_are_corrected_by_use(made: Make) -> None:
    entry = key(tokens_per_minute=600)
    limiter = made(entry)
    first = limiter.admit(entry, 500, 50.0)
    assert headers(first.headers)["x-ratelimit-remaining-tokens"] == "100"
    assert refused(limiter, entry, 200, 50.0).headers.startswith(b"x-ratelimit-limit-tokens: 600\r\n")
    limiter.settle(first, 100, 0.0)
    second = limiter.admit(entry, 200, 50.0)
    assert headers(second.headers)["x-ratelimit-remaining-tokens"] == "300"
    limiter.settle(second, 1200, 0.0)  # far more than was thought: the debt is paid back over the next minute and a half
    told = headers(refused(limiter, entry, 100, 50.0).headers)
    assert told["retry-after"] == "80"
    limiter.admit(entry, 100, 130.1)


def test_a_request_that_can_never_fit_is_told_so(made: Make) -> None:
    entry = key(tokens_per_minute=600)
    error = refused(made(entry), entry, 601)
    assert (error.status, error.param) == (429, "max_tokens")
    assert "more than this key's limit of 600" in error.message
    assert headers(error.headers)["x-should-retry"] == "false"
    assert "retry-after" not in headers(error.headers)


def test_what_is_refused_for_tokens_costs_no_request(made: Make) -> None:
    entry = key(requests_per_minute=2, tokens_per_minute=100)
    limiter = made(entry)
    limiter.admit(entry, 100, 10.0)
    for _ in range(5):
        refused(limiter, entry, 50, 10.0)
    assert headers(limiter.admit(entry, 0, 10.0).headers)["x-ratelimit-remaining-requests"] == "0"


def test_concurrency_is_given_back_once(made: Make) -> None:
    entry = key(concurrency=2)
    limiter = made(entry)
    first, _ = limiter.admit(entry, 1, 0.0), limiter.admit(entry, 1, 0.0)
    error = refused(limiter, entry)
    assert (error.status, error.code) == (429, "rate_limit_exceeded")
    assert headers(error.headers)["retry-after"] == "1"
    limiter.settle(first, 0, 0.0)
    limiter.settle(first, 0, 0.0)
    limiter.admit(entry, 1, 0.0)
    refused(limiter, entry)


def test_a_budget_holds_what_runs_and_is_never_overspent(made: Make, tmp_path: Path) -> None:
    entry = key(budget_usd=1.0, budget_period="month")
    limiter = made(entry)
    running = limiter.admit(entry, 1, 0.0, 0.6)
    error = refused(limiter, entry, cost=0.6)
    assert (error.status, error.code, headers(error.headers)["retry-after"]) == (429, "insufficient_quota", "1")
    limiter.settle(running, 1, 0.3)
    limiter.settle(limiter.admit(entry, 1, 0.0, 0.6), 1, 0.6)
    error = refused(limiter, entry, cost=0.2)
    assert "1 USD a month; 0.9000 are spent, this request may cost 0.2" in error.message
    assert 0 < int(headers(error.headers)["retry-after"]) <= 31 * 86400
    assert headers(error.headers)["x-should-retry"] == "false"
    limiter.settle(limiter.admit(entry, 1, 0.0, 0.1), 1, 0.1)
    assert "this request" not in refused(limiter, entry).message
    assert read_spend(tmp_path, time.time())["key-1"].month_usd == pytest.approx(1.0)


def test_a_total_budget_does_not_come_back(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    entry, wall = key(budget_usd=1.0, budget_period="total"), time.time()
    limiter = made(entry)
    limiter.settle(limiter.admit(entry, 1, 0.0, 1.0), 1, 1.0)
    monkeypatch.setattr(module.time, "time", lambda: wall + 400 * 86400)
    assert "retry-after" not in headers(refused(limiter, entry).headers)


@pytest.mark.parametrize(("period", "days"), [("day", 1), ("month", 31)])
def test_a_clock_that_jumps_back_gives_no_new_budget(made: Make, monkeypatch: pytest.MonkeyPatch, period: str, days: int) -> None:
    entry, wall = key(budget_usd=1.0, budget_period=period), [1_800_000_000.0]
    monkeypatch.setattr(module.time, "time", lambda: wall[0])
    limiter = made(entry)
    limiter.settle(limiter.admit(entry, 1, 0.0, 1.0), 1, 1.0)
    refused(limiter, entry)
    wall[0] += days * 86400
    limiter.settle(limiter.admit(entry, 1, 0.0, 1.0), 1, 1.0)
    wall[0] -= days * 86400
    refused(limiter, entry)
    limiter.close()
    again = made(entry)  # a new process has only the clock and the file
    refused(again, entry)
    wall[0] += days * 86400
    refused(again, entry)
    wall[0] += days * 86400
    again.admit(entry, 1, 0.0, 1.0)


def test_another_process_behind_a_jump_spends_in_the_same_period(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    entry, wall = key(budget_usd=1.0, budget_period="day"), [1_800_000_000.0 + 86400]
    monkeypatch.setattr(module.time, "time", lambda: wall[0])
    ahead = made(entry, worker=0)
    ahead.settle(ahead.admit(entry, 1, 0.0, 0.1), 1, 0.1)
    wall[0] -= 86400
    behind = made(entry, worker=1)
    behind.settle(behind.admit(entry, 1, 0.0, 0.9), 1, 0.9)
    refused(behind, entry)
    refused(ahead, entry)


def test_keys_that_stay_keep_what_they_used_and_new_limits_hold_at_once(made: Make) -> None:
    entry = key(requests_per_minute=2, concurrency=5)
    limiter = made(entry)
    running = limiter.admit(entry, 1, 5.0)
    limiter.admit(entry, 1, 5.0)
    limiter.configure([key(requests_per_minute=2, concurrency=1), key("key-2")])
    assert "1 requests in flight" in refused(limiter, key(), now=5.0).message
    limiter.settle(running, 1, 0.0)
    limiter.configure([key(requests_per_minute=2)])
    refused(limiter, key(), now=5.0)
    limiter.configure([key()])
    assert limiter.admit(key(), 1, 5.0).headers == b""


def test_a_file_that_cannot_be_read_closes_budgets_and_nothing_else(made: Make, tmp_path: Path) -> None:
    paid, rated = key("key-1", budget_usd=5.0), key("key-2", requests_per_minute=1)
    (tmp_path / "limits").mkdir()
    (tmp_path / "limits" / "state").write_bytes(b"not ours" * 100)
    limiter = made(paid, rated)
    error = refused(limiter, paid)
    assert (error.status, error.code) == (503, "spend_unreadable")
    assert "not a file of Penstock's" in error.message
    limiter.admit(rated, 1, 1.0)
    refused(limiter, rated, now=1.0)
    (tmp_path / "limits" / "state").unlink()
    limiter.configure([paid, rated])
    limiter.settle(limiter.admit(paid, 1, 0.0, 1.0), 1, 1.0)
    (tmp_path / "limits" / "state").write_bytes(b"short")
    with pytest.raises(SpendUnreadable):
        read_spend(tmp_path, 0.0)


@pytest.mark.parametrize("damage", [(MARK, 0.0), (DAY_USD, float("nan")), (DAY_USD, -5.0)])
def test_a_damaged_row_closes_its_budget(made: Make, damage: tuple[int, float]) -> None:
    entry = key(budget_usd=5.0, budget_period="day")
    limiter = made(entry, key("key-2", budget_usd=5.0))
    limiter.settle(limiter.admit(entry, 1, 0.0, 1.0), 1, 1.0)
    state = limiter._states["key-1"]
    state.book.view[state.row.start + BLOCK + damage[0]] = damage[1]
    assert refused(limiter, entry).code == "spend_unreadable"
    limiter.admit(key("key-2"), 1, 0.0, 1.0)


def test_a_file_cut_short_closes_budgets(made: Make, tmp_path: Path) -> None:
    entry = key(budget_usd=5.0)
    made(entry).close()
    file = tmp_path / "limits" / "state"
    with file.open("r+b") as opened:
        opened.truncate(1000)
    limiter = made(entry)
    assert "cut short" in refused(limiter, entry).message


def test_many_keys_grow_the_file_and_are_found_again(made: Make, tmp_path: Path) -> None:
    keys = [key(f"key-{n}", budget_usd=1.0) for n in range(100)]
    limiter = made(*keys[:3])
    running = limiter.admit(keys[0], 1, 0.0, 0.5)
    limiter.configure(keys)
    limiter.settle(running, 1, 0.5)
    for entry in keys:
        limiter.settle(limiter.admit(entry, 1, 0.0, 0.25), 1, 0.25)
    found = read_spend(tmp_path, time.time())
    assert found["key-0"].day_usd == 0.75
    assert {found[entry.id].total_usd for entry in keys[1:]} == {0.25}


def test_two_processes_share_rates_concurrency_and_budget(made: Make) -> None:
    entry = key(requests_per_minute=3, concurrency=2, budget_usd=1.0)
    one, two = made(entry, worker=0), made(entry, worker=1)
    first = one.admit(entry, 1, 1.0, 0.4)
    two.admit(entry, 1, 1.0, 0.4)
    assert "in flight" in refused(two, entry, now=1.0).message
    one.settle(first, 1, 0.4)
    assert refused(one, entry, now=1.0, cost=0.4).code == "insufficient_quota"
    one.settle(one.admit(entry, 1, 1.0, 0.2), 1, 0.2)
    assert refused(two, entry, now=1.0).code == "rate_limit_exceeded"


WORKER = """
import json, sys, time
from pathlib import Path
from penstock.serving.errors import RequestRefused
from penstock.serving.limits import Limiter
from penstock.serving.snapshot import KeyEntry, KeyLimits
folder, worker, limits, turns, pause = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
entry = KeyEntry("key-1", "x", "0", limits=KeyLimits(**limits))
limiter = Limiter(folder, worker)
limiter.configure([entry])
print("ready", flush=True)
sys.stdin.readline()
passed, most = 0, 0
for _ in range(turns):
    try:
        granted = limiter.admit(entry, 1, 100.0, 0.001)
    except RequestRefused:
        continue
    state = granted.state
    most = max(most, state.row.in_flight())
    passed += 1
    print(passed, flush=True)
    if pause:
        time.sleep(pause)
    limiter.settle(granted, 1, 0.001)
print(json.dumps([passed, most]), flush=True)
"""


def start(folder: Path, worker: int, turns: int, pause: float = 0.0, **limits: Any) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WORKER, str(folder), str(worker), json.dumps(limits), str(turns), str(pause)]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_processes_that_hammer_one_key_pass_exactly_its_budget_and_rate(tmp_path: Path) -> None:
    """The time they give stands still, so exactly one minute's worth may pass in all."""
    started = [start(tmp_path, n, 4000, requests_per_minute=1500, budget_usd=1.2, budget_period="total") for n in range(3)]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    ended = [json.loads(process.communicate(timeout=60)[0].splitlines()[-1]) for process in started]
    passed = sum(each[0] for each in ended)
    assert passed <= 1200  # never more than the budget
    assert passed >= 1195  # and hardly less: at the edge two processes may both stand back
    assert read_spend(tmp_path, time.time())["key-1"].total_usd == pytest.approx(passed * 0.001)


def test_kill_9_loses_no_spend_and_what_ran_counts_as_spent(tmp_path: Path, made: Make) -> None:
    process = start(tmp_path, 0, 100_000, 0.0005, budget_usd=1000.0)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    said = process.communicate(timeout=30)[0].splitlines()
    passed = int(said[-1])
    entry = key(budget_usd=1000.0)
    limiter = made(entry)
    spent = read_spend(tmp_path, time.time())["key-1"].total_usd
    assert passed > 50
    assert spent == pytest.approx(passed * 0.001, abs=0.0011)  # the last one may not have been told, or not yet held
    assert limiter._states["key-1"].row.in_flight() == 0


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_order_of_admitting_and_settling_keeps_the_sums(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Model: what was settled is spent, what runs is held, and their sum never passes the budget when estimates are upper bounds."""
    folder = tmp_path_factory.mktemp("limits")
    entry = key(budget_usd=1.0, budget_period="total", concurrency=6)
    workers = [Limiter(folder, 0), Limiter(folder, 1)]
    running: list[tuple[Limiter, Pass]] = []
    spent = 0.0
    try:
        for worker in workers:
            worker.configure([entry])
        for _ in range(data.draw(st.integers(1, 30))):
            if running and data.draw(st.booleans()):
                worker, granted = running.pop(data.draw(st.integers(0, len(running) - 1)))
                cost = granted.cost_usd * data.draw(st.sampled_from([0.0, 0.5, 1.0]))
                worker.settle(granted, 1, cost)
                spent += cost
            else:
                worker = data.draw(st.sampled_from(workers))
                cost = data.draw(st.sampled_from([0.0, 0.05, 0.3, 0.7]))
                held = sum(p.cost_usd for _, p in running)
                fits = len(running) < 6 and spent + held + cost <= 1.0 + 1e-9 and spent < 1.0
                try:
                    running.append((worker, worker.admit(entry, 1, 0.0, cost)))
                    assert spent + held + cost <= 1.0 + 1e-9
                    assert len(running) <= 6
                except RequestRefused:
                    assert not fits or spent + held + cost > 1.0 - 1e-9
        state = workers[0]._states["key-1"]
        assert state.row.in_flight() == len(running)
        assert state.row.reserved() == pytest.approx(sum(p.cost_usd for _, p in running))
    finally:
        for worker in workers:
            worker.close()


def test_a_full_disk_closes_budgets_of_new_keys_and_leaves_the_others(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room is made before a number is stored: a mapped file that cannot grow would otherwise end the process."""
    old = key("key-old", budget_usd=5.0, requests_per_minute=100)
    limiter = made(old)
    many = [key(f"key-{n}", budget_usd=5.0) for n in range(50)]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    limiter.configure([old, *many, key("key-free", requests_per_minute=1)])
    limiter.settle(limiter.admit(old, 1, 1.0, 1.0), 1, 1.0)
    assert "No space left" in refused(limiter, many[-1]).message
    limiter.admit(key("key-free"), 1, 1.0)
    refused(limiter, key("key-free"), now=1.0)
    monkeypatch.undo()
    limiter.configure([old, *many])
    limiter.settle(limiter.admit(many[-1], 1, 1.0, 1.0), 1, 1.0)


def test_more_processes_than_places_close_budgets(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spend_file, "SLOTS", 2)
    entry = key(budget_usd=5.0)
    first, _ = made(entry, worker=0), made(entry, worker=1)
    third = made(entry, worker=2)
    assert "2 gateway processes use it already" in refused(third, entry).message
    first.close()
    third.configure([entry])
    third.admit(entry, 1, 1.0, 1.0)
