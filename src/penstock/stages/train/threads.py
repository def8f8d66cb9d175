"""How many CPU threads to train with: every attempt at a step uses the same, since another count may round differently."""

from __future__ import annotations

from contextlib import suppress

import torch

from penstock.core.files import write_atomic
from penstock.stages.contract import Context
from penstock.stages.train.team import Team


def settle(context: Context) -> int:
    """Sets and returns the count: that of an earlier attempt at this step, else all threads that the step has."""
    mine, count = context.scratch / "threads", context.threads
    with suppress(OSError, ValueError):
        count = max(1, int(mine.read_text()))
    write_atomic(mine, str(count).encode())
    torch.set_num_threads(count)
    return count


def agreed(team: Team, context: Context) -> int:
    """As settle, once for all processes that train together."""
    count = team.told(settle(context) if team.leads else 0)
    torch.set_num_threads(count)
    return count
