"""A real trace as load: when its requests came, and prompts and answers as long as theirs, scaled to what the model can hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from penstock.control.loadtest.orders import Asking, Order, Writer
from penstock.control.scaling.trace import Asked
from penstock.core.errors import BadInput

FITS = 0.95  # of requests that must fit the model's context unclipped once scaled


@dataclass(frozen=True, slots=True)
class Replay:
    """`due`: seconds from the start, ascending. `scale`: by which token counts were multiplied."""

    due: list[float]
    lengths: list[tuple[int, int]]
    scale: float
    clipped: int

    def facts(self, name: str, speedup: float) -> dict[str, Any]:
        prompt, answer = (sorted(column) for column in zip(*self.lengths, strict=True))
        return {
            "trace": name,
            "speedup": speedup,
            "token_scale": round(self.scale, 6),
            "clipped": self.clipped,
            "requests": len(self.due),
            "median_prompt_tokens": prompt[len(prompt) // 2],
            "median_max_tokens": answer[len(answer) // 2],
        }


def replay(trace: Sequence[Asked], seconds: float | None, context: int | None, scale: float | None = None) -> Replay:
    """The first `seconds` of a trace. Without `scale`, 95 % of its requests are made to fit `context` tokens and the rest is clipped.

    Raises BadInput when nothing of the trace lies within `seconds`.
    """
    first = trace[0].at
    taken = [asked for asked in trace if seconds is None or asked.at - first <= seconds]
    if len(taken) < 2:
        raise BadInput(f"{len(taken)} requests of the trace lie within {seconds:g} s", remedy="Raise --duration or --speedup.")
    sizes = sorted(asked.prompt + asked.completion for asked in taken)
    if scale is None:
        scale = 1.0 if context is None else min(1.0, context / sizes[int(FITS * (len(sizes) - 1))])
    lengths, clipped = [], 0
    for asked in taken:
        prompt, answer = max(1, round(asked.prompt * scale)), max(1, round(asked.completion * scale))
        if context is not None and prompt + answer > context:
            clipped += 1
            answer = min(answer, max(1, context // 2))
            prompt = max(1, context - answer)
        lengths.append((prompt, answer))
    return Replay([asked.at - first for asked in taken], lengths, scale, clipped)


def orders(found: Replay, asking: Asking, writer: Writer) -> Iterator[Order]:
    """One order for each request of the trace, made as it is needed; then from the beginning again."""
    for prompt, answer in cycle(found.lengths):
        yield asking.order(writer.text(prompt), answer, prompt)
