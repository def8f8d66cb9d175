"""The thread count is measured once, remembered by the machine, and never flips within a step."""

import pytest
import torch

from penstock.stages.train import threads
from penstock.testing.stages import RecordingContext


@pytest.mark.parametrize(
    ("seconds", "expected"), [({1: 1.0, 2: 0.6}, 2), ({1: 1.0, 2: 0.97}, 1), ({1: 1.0, 2: 1.4, 3: 0.8}, 3), ({1: 1.0}, 1)]
)
def test_more_threads_only_when_they_pay(seconds, expected):
    assert threads.choose(seconds) == expected


def test_an_attempt_keeps_what_an_earlier_one_used(tmp_path, monkeypatch):
    before = torch.get_num_threads()
    try:
        monkeypatch.setattr(threads, "step_seconds", lambda count, _: 1.0 / count)
        first = RecordingContext(tmp_path / "a", 2)
        assert threads.settle(first, torch.float32) == 2
        monkeypatch.setattr(threads, "step_seconds", lambda count, _: float(count))
        assert threads.settle(first, torch.float32) == 2
        (first.machine / "threads.json").write_text("not json")
        assert threads.settle(first, torch.float32) == 2
        assert threads.settle(RecordingContext(tmp_path / "b", 2), torch.float32) == 1
    finally:
        torch.set_num_threads(before)


def test_measuring_leaves_the_generator_alone():
    before = torch.get_num_threads()
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    threads.step_seconds(1, torch.float32)
    torch.set_num_threads(before)
    assert torch.equal(torch.rand(3), expected)
