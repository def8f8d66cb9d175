"""Gathering of texts into batches, grouping by length, windows of a context."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import EngineClosed
from penstock.engines.encoding import by_length
from penstock.engines.gathering import Gatherer, Item
from penstock.engines.scoring import windows


@given(st.lists(st.integers(1, 512), max_size=80), st.integers(1, 32))
def test_groups_hold_every_row_once_within_the_limit(lengths: list[int], most: int) -> None:
    groups = by_length(lengths, most)
    assert sorted(at for group in groups for at in group) == list(range(len(lengths)))
    assert all(1 <= len(group) <= most for group in groups)
    for group in groups:
        if len(group) > 4:
            assert 1 - sum(lengths[at] for at in group) / (len(group) * max(lengths[at] for at in group)) <= 0.25 + 1e-9


@given(st.integers(0, 2000), st.integers(2, 300))
def test_windows_predict_each_token_once(tokens: int, context: int) -> None:
    found = list(windows(tokens, context))
    assert [at for window in found for at in range(window.first, window.end)] == list(range(1, tokens))
    assert all(window.begin < window.first and window.end - window.begin <= context for window in found)


class Recorder:
    """Doubles numbers; holds its first batch until told."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.go = threading.Event()

    def work(self, _worker: int, items: list[Item[int]]) -> Sequence[int]:
        self.batches.append(len(items))
        assert self.go.wait(10)
        if any(item.text == "bad" for item in items):
            raise ValueError("bad text")
        return [2 * int(item.text) for item in items]


def test_what_queues_while_one_batch_runs_is_the_next_batch() -> None:
    recorder = Recorder()
    gatherer: Gatherer[int] = Gatherer(recorder.work, workers=1, max_batch=8, name="test")

    async def ask() -> list[list[int]]:
        first = asyncio.ensure_future(gatherer.submit(["1"], None))
        while not recorder.batches:
            await asyncio.sleep(0.001)
        others = [asyncio.ensure_future(gatherer.submit([str(at), str(at + 100)], None)) for at in range(5)]
        await asyncio.sleep(0.01)
        recorder.go.set()
        return await asyncio.gather(first, *others)

    answers = asyncio.run(asyncio.wait_for(ask(), 10))
    gatherer.close()
    assert answers == [[2], *([2 * at, 2 * at + 200] for at in range(5))]
    assert recorder.batches == [1, 8, 2]


def test_an_error_reaches_its_batch_and_work_goes_on() -> None:
    recorder = Recorder()
    recorder.go.set()
    gatherer: Gatherer[int] = Gatherer(recorder.work, workers=2, max_batch=8, name="test")

    async def ask() -> list[int]:
        with pytest.raises(ValueError, match="bad text"):
            await gatherer.submit(["bad"], None)
        return await gatherer.submit(["4"], None)

    assert asyncio.run(asyncio.wait_for(ask(), 10)) == [8]
    gatherer.close()


def test_those_who_left_cost_nothing() -> None:
    recorder = Recorder()
    gatherer: Gatherer[int] = Gatherer(recorder.work, workers=1, max_batch=8, name="test")

    async def ask() -> list[int]:
        first = asyncio.ensure_future(gatherer.submit(["1"], None))
        while not recorder.batches:
            await asyncio.sleep(0.001)
        gone = [asyncio.ensure_future(gatherer.submit(["2"], None)) for _ in range(20)]
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        recorder.go.set()
        await first
        return await gatherer.submit(["5"], None)

    assert asyncio.run(asyncio.wait_for(ask(), 10)) == [10]
    gatherer.close()
    assert recorder.batches == [1, 1]


def test_closing_answers_the_waiting_and_lets_the_running_end() -> None:
    recorder = Recorder()
    gatherer: Gatherer[int] = Gatherer(recorder.work, workers=1, max_batch=1, name="test")

    async def ask() -> list[object]:
        asked = [asyncio.ensure_future(gatherer.submit([str(at)], None)) for at in range(3)]
        while not recorder.batches:
            await asyncio.sleep(0.001)
        threading.Timer(0.05, recorder.go.set).start()
        await asyncio.to_thread(gatherer.close)
        return await asyncio.gather(*asked, return_exceptions=True)

    first, *others = asyncio.run(asyncio.wait_for(ask(), 10))
    assert first == [0]
    assert all(isinstance(other, EngineClosed) for other in others)
