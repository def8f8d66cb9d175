"""`${env:NAME}`, `${env:NAME:-default}` and `${secret:NAME}` inside the file's text; `$${` writes a plain `${`.

Environment variables are put in when the file is loaded. Secrets stay references in every object, row, log and artifact; their
value is looked up by `resolve_secret` at the one place that uses it, and kept nowhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from penstock.core.errors import ReferenceUnset

Loc = tuple[str | int, ...]
_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}?")
_INSIDE = re.compile(r"(env|secret):([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


def put_environment(value: Any, environ: Mapping[str, str], loc: Loc = ()) -> tuple[Any, list[tuple[Loc, str]]]:
    """`value` with every environment reference replaced, and (location, reason) for each that names nothing or is malformed."""
    problems: list[tuple[Loc, str]] = []
    return _put(value, environ, loc, problems), problems


def _put(value: Any, environ: Mapping[str, str], loc: Loc, problems: list[tuple[Loc, str]]) -> Any:
    if isinstance(value, dict):
        return {key: _put(item, environ, (*loc, key), problems) for key, item in value.items()}
    if isinstance(value, list):
        return [_put(item, environ, (*loc, index), problems) for index, item in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${" if "${secret:" not in value else match[0]
        inside = _INSIDE.fullmatch(match[1])
        if inside is None or not match[0].endswith("}"):
            problems.append(
                (loc, f"{match[0]} is no reference; write ${{env:NAME}}, ${{env:NAME:-default}} or ${{secret:NAME}}, or $${{ for the text")
            )
        elif inside[1] == "secret":
            if inside[3] is not None:
                problems.append((loc, f"${{secret:{inside[2]}}} cannot have a default: a value in the file is no secret"))
            return match[0]
        elif inside[2] in environ:
            return environ[inside[2]]
        elif inside[3] is not None:
            return inside[3]
        else:
            problems.append((loc, f"the environment variable {inside[2]} is not set; export it, or write ${{env:{inside[2]}:-default}}"))
        return match[0]

    return _REFERENCE.sub(replace, value)


def secrets_in(value: Any) -> Iterator[str]:
    """Names of the secrets that `value` (JSON types) refers to, in order of appearance."""
    if isinstance(value, dict):
        for item in value.values():
            yield from secrets_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from secrets_in(item)
    elif isinstance(value, str):
        for match in _REFERENCE.finditer(value):
            if match[1] and (inside := _INSIDE.fullmatch(match[1])) and inside[1] == "secret":
                yield inside[2]


def resolve_secret(text: str, environ: Mapping[str, str] | None = None) -> str:
    """`text` with every `${secret:NAME}` replaced by PENSTOCK_SECRET_<NAME>, or by the file <NAME> in PENSTOCK_SECRETS_DIR (its last
    new line dropped). Raises ReferenceUnset, which names the secret and never shows a value. Keep the result out of rows and logs.
    """
    env = os.environ if environ is None else environ

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        inside = _INSIDE.fullmatch(match[1])
        return _secret(inside[2], env) if inside and inside[1] == "secret" else match[0]

    return _REFERENCE.sub(replace, text)


def _secret(name: str, environ: Mapping[str, str]) -> str:
    variable = f"PENSTOCK_SECRET_{name}"
    if variable in environ:
        return environ[variable]
    folder = environ.get("PENSTOCK_SECRETS_DIR")
    if folder and (file := Path(folder) / name).is_file():
        try:
            return file.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            raise ReferenceUnset(f"the secret {name} cannot be read from {file} ({type(error).__name__})") from None
    searched = f"no variable {variable}" + (f" and no file {name} in {folder}" if folder else " and PENSTOCK_SECRETS_DIR is not set")
    raise ReferenceUnset(
        f"the secret {name} is not there: {searched}", remedy=f"Export {variable}, or put the value in a file and set PENSTOCK_SECRETS_DIR."
    )
