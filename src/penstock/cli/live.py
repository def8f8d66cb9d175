"""The live tree of a run: bars and rates redrawn in place on a terminal, one line a change elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from penstock.core.units import show_seconds

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text
    from rich.tree import Tree

    from penstock.control.views import GateView, RunView, StepView

MARKS = {
    "waiting": ("·", "dim"),
    "cached": ("≡", "cyan"),
    "running": ("▶", "bold blue"),
    "succeeded": ("✓", "green"),
    "failed": ("✗", "bold red"),
    "skipped": ("–", "dim"),
    "cancelled": ("■", "yellow"),
}
PLAIN_EVERY_S = 10.0
BAR_WIDTH = 24
WORDS_WIDTH = 78  # of a line without its name and bar


class LiveTree:
    """`with LiveTree(console) as tree: tree.update(view)…; tree.finish(view)`. The last drawing stays on the screen."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._told: dict[str, tuple[str, float]] = {}  # per step: phase last told, and at which of its seconds
        self._gates: dict[str, bool | None] = {}

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            from rich.live import Live

            self._live = Live(console=self._console, auto_refresh=False, transient=False)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    def update(self, view: RunView) -> None:
        """Draws the run as it stands; cheap to call a few times a second."""
        if self._live:
            self._live.update(draw(view, self._console.width), refresh=True)
        else:
            for step in view.steps:
                self._tell(step)
            for gate in view.gates:
                if self._gates.get(gate.gate) != gate.passed:
                    self._gates[gate.gate] = gate.passed
                    self._line(gate_line(gate))

    def finish(self, view: RunView) -> None:
        """The last drawing, and a closing line."""
        self.update(view)
        if self._live:
            self._live.stop()
            self._live = None
        self._line(closing_line(view))

    def _tell(self, step: StepView) -> None:
        phase, at = self._told.get(step.name, ("waiting", 0.0))
        due = step.phase == "running" and step.seconds - at >= PLAIN_EVERY_S
        if step.phase != phase or due:
            self._told[step.name] = (step.phase, step.seconds)
            self._line(f"{step.name}: {step_line(step)}")

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def draw(view: RunView, width: int = 120) -> Tree:
    """The tree as a rich renderable for a terminal of `width` columns; where it is narrow, bars give way to words."""
    from rich.text import Text
    from rich.tree import Tree

    heading = Text.assemble((view.pipeline, "bold"), f"  {view.id}  ", (view.phase, "bold"), f"  {show_seconds(view.seconds)}")
    tree = Tree(heading, guide_style="dim")
    longest = max((len(step.name) for step in view.steps), default=0)
    room = min(BAR_WIDTH, width - WORDS_WIDTH - longest)
    for step in view.steps:
        mark, style = MARKS[step.phase]
        line = Text.assemble((f"{mark} {step.name:<{longest}} ", style), no_wrap=True, overflow="ellipsis")
        if step.phase == "running" and step.total and room > 0:
            line.append_text(_bar(step.done / step.total, room))
        line.append(step_line(step, brief=room <= 0), style="red" if step.phase == "failed" else "")
        tree.add(line)
    for gate in view.gates:
        tree.add(Text(gate_line(gate), style={True: "green", False: "bold red", None: "yellow"}[gate.passed]))
    return tree


def _bar(share: float, width: int) -> Text:
    from rich.text import Text

    filled = round(width * min(1.0, max(0.0, share)))
    return Text.assemble(("━" * filled, "blue"), ("─" * (width - filled), "dim"), " ")


def step_line(step: StepView, *, brief: bool = False) -> str:
    """What is known of a step, in one line: counts (not when `brief`), rate, facts, time left or taken."""
    if step.phase in ("waiting", "skipped", "cancelled"):
        return f"{step.phase}: {step.message}" if step.message else step.phase
    if step.phase == "failed":
        return f"failed after {show_seconds(step.seconds)}: {step.message}".removesuffix(": ")
    parts: list[str] = [] if step.phase == "running" else [step.phase]
    if step.phase == "running":
        parts += _progress(step, brief) or ["running"]
    parts += [f"{name} {value:.4g}" for name, value in step.facts.items()]
    if step.phase == "running" and step.eta_s is not None:
        parts.append(f"{show_seconds(step.eta_s)} left")
    elif step.phase != "cached":
        parts.append(show_seconds(step.seconds))
    return "  ".join([*parts, step.message] if step.message else parts)


def _progress(step: StepView, brief: bool) -> list[str]:
    parts = []
    if step.total:
        parts.append(f"{100 * step.done / step.total:.0f} %")
        parts += [] if brief else [f"{step.done:,.0f}/{step.total:,.0f} {step.unit}".rstrip()]
    elif step.done:
        parts.append(f"{step.done:,.0f} {step.unit}".rstrip())
    if step.rate:
        parts.append(f"{step.rate:,.{1 if step.rate < 10 else 0}f} {step.unit or 'steps'}/s")
    return parts


def gate_line(gate: GateView) -> str:
    verdict = {True: "passed", False: "refused", None: "waiting"}[gate.passed]
    return f"gate {gate.gate}: {verdict}" + (f" ({gate.reason})" if gate.reason else "")


def closing_line(view: RunView) -> str:
    cached = sum(step.phase == "cached" for step in view.steps)
    parts = [f"{view.id} {view.phase} in {show_seconds(view.seconds)}", f"{cached} of {len(view.steps)} steps from the cache"]
    if view.model:
        parts.append(f"model {view.model.name} version {view.model.version}")
    if view.deployment:
        parts.append(f"{view.deployment.name} answers at {view.deployment.url}")
    return ", ".join(parts)
