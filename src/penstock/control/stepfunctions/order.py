"""A graph as what a state machine can say: one after the other, or branches at once that all end before it goes on. Pure.

Parts that need nothing of each other are branches. A part that hangs together begins with the steps that need nothing of it; what
follows begins when all of those are done. So a step may wait for one that it does not need, where the graph is no such nesting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from penstock.control.exporting.tasks import Task

TaskT = TypeVar("TaskT", bound=Task[Any])
Needs = Callable[[TaskT], set[str]]  # names of the steps that must be done before


@dataclass(frozen=True, slots=True)
class Parallel(Generic[TaskT]):
    """Branches, each in order."""

    branches: Sequence[Sequence[TaskT | Parallel[TaskT]]]


def arranged(tasks: Sequence[TaskT], needs: Needs[TaskT]) -> list[TaskT | Parallel[TaskT]]:
    """`tasks` in an order in which each comes after what it needs."""
    if not tasks:
        return []
    parts = _parts(tasks, needs)
    if len(parts) > 1:
        return [Parallel([arranged(part, needs) for part in parts])]
    here = {task.node.name for task in tasks}
    first = [task for task in tasks if not needs(task) & here]
    rest = [task for task in tasks if needs(task) & here]
    begin: list[TaskT | Parallel[TaskT]] = [first[0]] if len(first) == 1 else [Parallel([[task] for task in first])]
    return [*begin, *arranged(rest, needs)]


def _parts(tasks: Sequence[TaskT], needs: Needs[TaskT]) -> list[list[TaskT]]:
    """Parts that need nothing of each other, each in the order that `tasks` has."""
    belongs = {task.node.name: {task.node.name} for task in tasks}
    for task in tasks:
        for other in needs(task) & belongs.keys():
            both = belongs[task.node.name] | belongs[other]
            for name in both:
                belongs[name] = both
    found: dict[int, list[TaskT]] = {}
    for task in tasks:
        found.setdefault(id(belongs[task.node.name]), []).append(task)
    return list(found.values())
