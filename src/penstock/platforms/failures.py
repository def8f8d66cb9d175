"""What a failed step says: any exception as the JSON error of a JobState."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from penstock.core.errors import DiskFull, PenstockError, StepFailed, StepMemory, StepTransient

_TRANSIENT_ERRNO = {errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.ETIMEDOUT, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN}
_TRACE_LINES = 12


class Told(StepFailed):
    """What another process described: it is described the same way again."""

    def __init__(self, described: Mapping[str, Any]) -> None:
        super().__init__(str(described["message"]), remedy=described.get("remedy"), where=described.get("where"))
        self.described = described


def is_transient(error: BaseException) -> bool:
    """True for what may pass by itself: StepTransient, lost connections, time-outs, and EAGAIN and its like."""
    if isinstance(error, StepTransient | ConnectionError | TimeoutError):
        return True
    return isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNO


def describe(error: BaseException, code_path: Sequence[str] = ()) -> dict[str, Any]:
    """`PenstockError.as_json()` plus `transient`, `type` and `trace`; frames inside `code_path` (the user's own files) are preferred."""
    if isinstance(error, Told):
        return dict(error.described)
    return error_json(as_penstock(error, code_path), type(error).__name__, is_transient(error), _trace(error, code_path))


def as_penstock(error: BaseException, code_path: Sequence[str]) -> PenstockError:
    """The error itself, or what it is called in the tree of core/errors.py, with the place in the user's file."""
    if isinstance(error, PenstockError):
        return error
    where = _place(error.__traceback__, code_path)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"no space left while writing {error.filename or 'an output'}", where=where)
    if isinstance(error, MemoryError):
        return StepMemory(f"the step asked for more memory than there is ({error or 'MemoryError'})", where=where)
    if is_transient(error):
        return StepTransient(f"{type(error).__name__}: {error}", where=where)
    return StepFailed(f"{type(error).__name__}: {error}", where=where)


def error_json(error: PenstockError, kind: str | None = None, transient: bool = False, trace: Sequence[str] = ()) -> dict[str, Any]:
    return {**error.as_json(), "type": kind or type(error).__name__, "transient": transient, "trace": list(trace)}


def _own(frames: traceback.StackSummary, code_path: Sequence[str]) -> list[traceback.FrameSummary]:
    roots = tuple(os.path.join(os.path.abspath(folder), "") for folder in code_path)
    return [frame for frame in frames if roots and frame.filename.startswith(roots)]


def _place(trace: TracebackType | None, code_path: Sequence[str]) -> str | None:
    frames = traceback.extract_tb(trace)
    if not frames:
        return None
    frame = (_own(frames, code_path) or list(frames))[-1]
    return f"{frame.filename}:{frame.lineno} in {frame.name}"


def _trace(error: BaseException, code_path: Sequence[str]) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)
    chosen = _own(frames, code_path) or list(frames)
    lines = "".join(traceback.format_list(chosen)).splitlines() + traceback.format_exception_only(error)
    return [line.rstrip("\n") for line in lines][-_TRACE_LINES:]
