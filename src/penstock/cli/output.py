"""What commands print, and where errors end.

A command returns its exit code (None is 0) and prints through `here()`: one JSON value after --json, otherwise lines, with colour
only on a terminal and never under NO_COLOR. `--json` and `--debug` are added to every command here.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from penstock.core.errors import BadInput, Interrupted, PenstockError

if TYPE_CHECKING:
    from rich.console import Console

CommandT = TypeVar("CommandT", bound=click.Command)


@dataclass(slots=True)
class Output:
    json: bool = False
    debug: bool = False

    def show(self, data: Any, lines: Callable[[], Iterable[str]]) -> None:
        """One JSON value after --json, else the lines (made only then)."""
        if self.json:
            sys.stdout.write(
                json.dumps(_finite(data), indent=2 if sys.stdout.isatty() else None, ensure_ascii=False, allow_nan=False) + "\n"
            )
        else:
            for line in lines():
                sys.stdout.write(f"{line}\n")

    def note(self, line: str) -> None:
        """A remark for people, on stderr; silent after --json."""
        if not self.json:
            sys.stderr.write(f"{line}\n")

    @property
    def lively(self) -> bool:
        """True when a live display may be drawn."""
        return not self.json and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"

    def console(self) -> Console:
        """A rich console on stdout (imports rich; NO_COLOR and pipes are respected by it)."""
        from rich.console import Console

        return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def _finite(value: Any) -> Any:
    """The value with null for NaN and infinities, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


_CURRENT: contextvars.ContextVar[Output | None] = contextvars.ContextVar("output", default=None)


def here() -> Output:
    """The output of the command that is running."""
    return _CURRENT.get() or Output()


@contextlib.contextmanager
def using(output: Output) -> Iterator[Output]:
    token = _CURRENT.set(output)
    try:
        yield output
    finally:
        _CURRENT.reset(token)


def with_options(command: CommandT) -> CommandT:
    """Adds --json and --debug to a command and to its subcommands."""
    taken = {option for param in command.params for option in param.opts}
    for name, help_text in (("--json", "Print one JSON value."), ("--debug", "Show the trace of an error.")):
        if name not in taken:
            command.params.append(click.Option([name], is_flag=True, expose_value=False, callback=_switch, help=help_text))
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            with_options(inner)
    return command


def _switch(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        setattr(here(), str(param.name), True)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Rows under heads, in columns as wide as needed."""
    cells = [[str(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def fail(error: BaseException, output: Output) -> int:
    """Tells an error on stderr (a JSON object after --json) and returns the exit code."""
    told = _translated(error)
    if output.debug:
        import traceback

        sys.stderr.write("".join(traceback.format_exception(error)))
    if output.json:
        sys.stderr.write(json.dumps({"error": told.as_json()}, ensure_ascii=False) + "\n")
    else:
        sys.stderr.write(f"{_red('error')}: {told}\n{told.way_out}\n")
    return told.exit_code


def _translated(error: BaseException) -> PenstockError:
    if isinstance(error, PenstockError):
        return error
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return Interrupted("stopped from the keyboard")
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        usage = f"Usage: {context.get_usage().removeprefix('Usage: ')}" if context else "Run penstock --help."
        return BadInput(error.format_message(), remedy=usage)
    if isinstance(error, click.exceptions.Exit):
        raise error
    if isinstance(error, OSError):
        from penstock.core.files import in_plain_words

        plain = in_plain_words(error, Path(str(error.filename or "a file")))
        if isinstance(plain, PenstockError):
            return plain
    return PenstockError(f"{type(error).__name__}: {error}")


def _red(text: str) -> str:
    coloured = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"\x1b[1;31m{text}\x1b[0m" if coloured else text
