"""The live tree, drawn on a recorded terminal and on a recorded pipe."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from penstock.cli.live import LiveTree, closing_line, draw, step_line
from penstock.control.views import DeploymentView, GateView, ModelView, RunView, StepView

TRAINING = StepView("train", "running", 50, 200, "samples", 130.4, {"loss": 0.3125}, 12.0, 8.5)
VIEW = RunView(
    "run-1",
    "intents",
    "running",
    (StepView("data", "cached"), TRAINING, StepView("evaluate"), StepView("extra", "failed", seconds=3.0, message="ValueError: no")),
    (GateView("accuracy >= 0.9", True, "0.923"), GateView("approval", None)),
    seconds=12.0,
)


def console(terminal: bool, width: int = 120) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=terminal, width=width, color_system="standard" if terminal else None, legacy_windows=False
    )


def text_of(recorded: Console) -> str:
    assert isinstance(recorded.file, io.StringIO)
    return recorded.file.getvalue()


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_tree_shows_rates_loss_and_time_left(width: int) -> None:
    recorded = console(False, width)
    recorded.print(draw(VIEW, width))
    told = text_of(recorded)
    for part in ("intents", "run-1", "25 %", "130 samples/s", "loss 0.3125", "8.5 s left", "cached", "waiting", "ValueError: no"):
        assert part in told
    assert "gate accuracy >= 0.9: passed (0.923)" in told
    assert "gate approval: waiting" in told
    assert ("50/200 samples" in told) is (width > 90)
    assert ("━" in told) is (width > 90)
    assert all(len(line) <= width for line in told.splitlines())


def test_on_a_terminal_it_redraws_in_place() -> None:
    recorded = console(True)
    with LiveTree(recorded) as tree:
        tree.update(VIEW)
        tree.update(VIEW)
        tree.finish(VIEW)
    told = text_of(recorded)
    assert "\x1b[2K" in told
    assert told.rstrip().endswith("run-1 running in 12.0 s, 1 of 4 steps from the cache")


def test_elsewhere_it_prints_a_line_a_change() -> None:
    recorded = console(False)
    with LiveTree(recorded) as tree:
        tree.update(VIEW)
        tree.update(VIEW)
        tree.finish(VIEW)
    assert text_of(recorded).splitlines() == [
        "data: cached",
        "train: 25 %  50/200 samples  130 samples/s  loss 0.3125  8.5 s left",
        "extra: failed after 3.0 s: ValueError: no",
        "gate accuracy >= 0.9: passed (0.923)",
        "run-1 running in 12.0 s, 1 of 4 steps from the cache",
    ]


def test_progress_is_told_now_and_then_only() -> None:
    recorded = console(False)
    with LiveTree(recorded) as tree:
        for second in range(40):
            tree.update(RunView("r", "p", "running", (StepView("train", "running", second, 100, "rows", seconds=float(second)),)))
    assert len(text_of(recorded).splitlines()) == 4


@pytest.mark.parametrize(
    ("step", "line"),
    [
        (StepView("a", "running"), "running  0 ms"),
        (StepView("a", "running", 1234.0, None, "rows", 5.25, seconds=2.0), "1,234 rows  5.2 rows/s  2.0 s"),
        (StepView("a", "succeeded", facts={"accuracy": 0.91234}, seconds=61.0), "succeeded  accuracy 0.9123  1 min 1 s"),
        (StepView("a", "skipped", message="its input failed"), "skipped: its input failed"),
        (StepView("a", "failed", seconds=1.0), "failed after 1.0 s"),
        (StepView("a", "waiting", message="again in 2 s"), "waiting: again in 2 s"),
    ],
)
def test_lines_of_a_step(step: StepView, line: str) -> None:
    assert step_line(step) == line


def test_the_closing_line_says_where_it_answers() -> None:
    view = RunView("r", "p", "succeeded", (), (), ModelView("m", 3, "sha256:x"), DeploymentView("m", "http://127.0.0.1:1"), 5.0)
    assert closing_line(view) == "r succeeded in 5.0 s, 0 of 0 steps from the cache, model m version 3, m answers at http://127.0.0.1:1"


def test_markup_in_messages_is_text() -> None:
    recorded = console(False)
    with LiveTree(recorded) as tree:
        tree.update(RunView("r", "p", "running", (StepView("a", "failed", message="[red]boom[/red] [/]"),)))
    assert "[red]boom[/red] [/]" in text_of(recorded)
