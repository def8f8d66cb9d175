"""The thread count never changes between attempts at a step."""

import torch

from penstock.stages.train import threads
from penstock.testing.stages import RecordingContext


def test_an_attempt_keeps_what_an_earlier_one_used(tmp_path):
    before = torch.get_num_threads()
    try:
        assert threads.settle(RecordingContext(tmp_path / "a", 2)) == 2
        assert torch.get_num_threads() == 2
        assert threads.settle(RecordingContext(tmp_path / "a", 1)) == 2
        (tmp_path / "a" / "scratch" / "threads").write_text("torn")
        assert threads.settle(RecordingContext(tmp_path / "a", 1)) == 1
    finally:
        torch.set_num_threads(before)
