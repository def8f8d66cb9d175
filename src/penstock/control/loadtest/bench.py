"""What `penstock bench` does: finds the target, makes the orders, drives the load, and gives the report."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from penstock.control.loadtest import orders as ordering
from penstock.control.loadtest.arrivals import Piece, Shape
from penstock.control.loadtest.knee import Promise
from penstock.control.loadtest.orders import Asking, Order, Writer
from penstock.control.loadtest.replay import Replay, replay
from penstock.control.loadtest.replay import orders as orders_of_trace
from penstock.control.loadtest.session import Options, Session, driven
from penstock.control.loadtest.target import Found
from penstock.core.errors import BadInput

SCHEMA = 1
DEFAULT_PROMPT_TOKENS, DEFAULT_MAX_TOKENS = 32, 32
EXPORTED = 200  # bodies that a script for another tool carries


@dataclass(frozen=True, slots=True)
class Trace:
    """A file or name as in control/scaling/trace.py; None of `seconds` replays all of it."""

    name: str
    cache: Path
    speedup: float = 1.0
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """What is asked of the model."""

    prompts: Path | None = None
    column: str | None = None
    prompt_tokens: int = DEFAULT_PROMPT_TOKENS
    max_tokens: int = DEFAULT_MAX_TOKENS
    stream: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """One of `shape`, `concurrency`, `trace` and `promise` says what the load is; `seconds` is for the closed loop and the overload."""

    shape: Shape | None = None
    concurrency: int | None = None
    trace: Trace | None = None
    promise: Promise | None = None
    first_rate: float | None = None  # None: half of what two clients got in the warm-up
    most_rate: float = 20_000.0
    stress: bool = False
    seconds: float = 10.0
    said: Said = field(default_factory=Said)
    options: Options = field(default_factory=Options)


def bench(found: Found, plan: Plan, tell: Callable[[str], None]) -> dict[str, Any]:
    """The report. Raises BadInput for a plan that cannot be, PenstockError when the target answers nothing."""
    asking = _asking(found, plan)
    replayed = _replay(found, plan)
    session = Session(found.target, _orders(found, plan, asking, replayed), plan.options, tell)
    began = datetime.now(UTC).isoformat(timespec="seconds")
    report = driven(_driven(session, plan, replayed))
    first = next(_orders(found, plan, asking, replayed))
    target: dict[str, Any] = {"url": found.target.url, "path": first.path, "model": found.model, "version": found.version}
    target |= {"stream": first.stream, "max_tokens": plan.said.max_tokens, "prompt_tokens": plan.said.prompt_tokens}
    return {"schema": SCHEMA, "kind": "penstock-load-test", "began": began, "target": target, **report}


async def _driven(session: Session, plan: Plan, replayed: Replay | None) -> dict[str, Any]:
    easy = await session.warm_up()
    if plan.promise is not None:
        knee = await session.knee(plan.promise, plan.first_rate or max(1.0, easy / 2), plan.most_rate)
        report: dict[str, Any] = {"load": {"kind": "knee", "arrivals": plan.options.arrivals}, "knee": knee}
        if plan.stress and knee["max_rate"]:
            report["stress"] = await session.overload(knee["max_rate"], max(8.0, plan.seconds))
        return report
    if plan.concurrency is not None:
        return await session.closed(plan.concurrency, plan.seconds)
    if replayed is not None and plan.trace is not None:
        return await session.replayed(replayed.due, replayed.facts(plan.trace.name, plan.trace.speedup))
    if plan.shape is None:
        raise BadInput("no load was given", remedy="Give --rate, --step, --ramp, --spike, --concurrency, --trace or --find-knee.")
    report = await session.shaped(plan.shape)
    if plan.stress:
        report["stress"] = await session.overload(max(p.start for p in plan.shape.pieces), max(8.0, plan.seconds))
    return report


def script(found: Found, plan: Plan, tool: str) -> str:
    """The load as a script for `tool`. Raises BadInput where the tool cannot have it."""
    from penstock.control.loadtest.export import export

    if plan.promise is not None:
        raise BadInput("a search for the knee cannot be exported", remedy="Export the rate that it found: --rate RATE --export …")
    asking, replayed = _asking(found, plan), _replay(found, plan)
    some = list(itertools.islice(_orders(found, plan, asking, replayed), EXPORTED))
    if replayed is not None:
        pieces = tuple(_rates(replayed.due))
    elif plan.shape is not None:
        pieces = plan.shape.pieces
    else:
        pieces = (Piece(plan.seconds, 1.0, 1.0),)
    return export(tool, found.target.url, some, pieces, plan.concurrency)


def _rates(due: list[float], parts: int = 60) -> Iterator[Piece]:
    """A trace as steps of its mean rate, each at least a second."""
    width = max(1.0, due[-1] / parts)
    for at in range(max(1, round(due[-1] / width))):
        rate = sum(at * width <= moment < (at + 1) * width for moment in due) / width
        yield Piece(width, rate, rate)


def _asking(found: Found, plan: Plan) -> Asking:
    return Asking(found.model, found.route, plan.said.stream, plan.said.max_tokens)


def _orders(found: Found, plan: Plan, asking: Asking, replayed: Replay | None) -> Iterator[Order]:
    writer = Writer(plan.options.seed, found.count)
    if replayed is not None:
        return orders_of_trace(replayed, asking, writer)
    if plan.said.prompts is not None:
        return ordering.given(asking, ordering.read_prompts(plan.said.prompts, plan.said.column))
    tokens = plan.said.prompt_tokens
    if found.max_length is not None and asking.route in ("completions", "chat") and tokens + plan.said.max_tokens > found.max_length:
        raise BadInput(
            f"{tokens} tokens read and {plan.said.max_tokens} written are more than the {found.max_length} that {found.model!r} holds",
            remedy="Lower --prompt-tokens or --max-tokens.",
        )
    return ordering.made(asking, writer, tokens)


def _replay(found: Found, plan: Plan) -> Replay | None:
    if plan.trace is None:
        return None
    from penstock.control.scaling.trace import read_trace, trace_file

    trace = read_trace(trace_file(plan.trace.name.removeprefix("azure-llm-2023/"), plan.trace.cache), plan.trace.speedup)
    return replay(trace, plan.trace.seconds, found.max_length)
