"""Finds the user's function and binds its parameters, by annotation, to artifacts and values."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.core.digests import digest_file
from penstock.core.errors import BadInput
from penstock.spec.references import resolve_secret, secrets_in
from penstock.stages.contract import Context, Inputs, Outputs
from penstock.stages.user.types import Folder, Output

if TYPE_CHECKING:
    from pydantic import TypeAdapter

from penstock.spec.steps import UserConfig

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Signature:
    """Parameters with their annotations (`Any` where there is none), which of them have a default, and what is returned."""

    parameters: Mapping[str, Any]
    optional: frozenset[str]
    returns: Any


def function_of(uses: str) -> Function:
    """Imports `module:function`. Raises BadInput when there is no such module or function; errors inside the module pass through."""
    module_name, _, name = uses.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise BadInput(f"uses {uses!r}: no module {error.name!r} beside the pipeline file or installed") from error
        raise
    function = getattr(module, name, None)
    if not callable(function):
        near = difflib.get_close_matches(name, [n for n, value in vars(module).items() if inspect.isfunction(value)], 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise BadInput(f"uses {uses!r}: {module.__file__} has no function {name!r}{hint}")
    return typing.cast(Function, function)


def check_code(code: Mapping[str, str], uses: str) -> None:
    """Raises BadInput when a loaded module is not the source that the key of this step was made of."""
    for name, digest in code.items():
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None and digest_file(file) != digest:
            raise BadInput(f"{uses}: {file} changed since the plan was made", remedy="Run again: the plan will use the code as it is now.")


def signature_of(function: Function, uses: str) -> Signature:
    """Raises BadInput for what cannot be bound by name, and for annotations that name nothing."""
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise BadInput(f"{uses}: an annotation cannot be resolved: {error}") from error
    parameters: dict[str, Any] = {}
    optional = set()
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise BadInput(f"{uses}: parameter {name!r} cannot be given by name; write one plain parameter for each value")
        parameters[name] = hints.get(name, Any)
        if parameter.default is not parameter.empty:
            optional.add(name)
    return Signature(parameters, frozenset(optional), hints.get("return", Any))


def wants_context(annotation: Any) -> bool:
    return annotation is Context or (typing.get_origin(annotation) is not None and Context in typing.get_args(annotation))


def bind(signature: Signature, config: UserConfig, inputs: Inputs, outputs: Outputs, context: Context) -> dict[str, Any]:
    """Arguments by name. Raises BadInput that names every argument that is unknown, missing, or not of its type."""
    problems = _unknown(signature, config)
    arguments: dict[str, Any] = {}
    for name, annotation in signature.parameters.items():
        try:
            if wants_context(annotation):
                arguments[name] = context
            elif annotation is Output:
                arguments[name] = outputs.folder(name, "folder")
            elif name in config.inputs:
                folder = inputs.folder(name)
                arguments[name] = folder if annotation in (Folder, Path) else _value_in(folder, annotation, config.inputs[name])
            elif name in config.values:
                if annotation is Folder:
                    raise ValueError("is a Folder and so must come from `inputs:`, not from `with:`")
                arguments[name] = _given(config.values[name], annotation)
            elif name not in signature.optional:
                raise ValueError("is missing: give it under `with:` or `inputs:`, or a default")
        except ValueError as error:
            problems.append(f"argument {name!r} {error}")
    if problems:
        raise BadInput(f"{config.uses}: " + "; ".join(problems))
    return arguments


def _given(value: Any, annotation: Any) -> Any:
    """A value of `with:`, its secrets put in only here, in the process that runs the step. A refusal never shows a secret."""
    names = list(secrets_in(value))
    if not names:
        return _typed(value, annotation)
    try:
        return _typed(_resolved(value), annotation)
    except ValueError:
        raise ValueError(f"does not fit {_shown(annotation)} (its value, from secret {', '.join(names)}, is not shown)") from None


def _resolved(value: Any) -> Any:
    if isinstance(value, str):
        return resolve_secret(value)
    if isinstance(value, dict):
        return {name: _resolved(inner) for name, inner in value.items()}
    return [_resolved(inner) for inner in value] if isinstance(value, list) else value


def _unknown(signature: Signature, config: UserConfig) -> list[str]:
    takes = [name for name, annotation in signature.parameters.items() if annotation is not Output and not wants_context(annotation)]
    problems = []
    for name in [*config.values, *config.inputs]:
        if name in takes:
            continue
        near = difflib.get_close_matches(name, takes, 1)
        known = f"did you mean {near[0]!r}?" if near else f"it takes: {', '.join(takes) or 'no values'}"
        problems.append(f"the function has no parameter {name!r} to give a value ({known})")
    return problems + [f"argument {name!r} is given by both `with:` and `inputs:`" for name in config.values if name in config.inputs]


def _value_in(folder: Path, annotation: Any, source: str) -> Any:
    file = folder / "value.json"
    if not file.exists():
        raise ValueError(f"is {_shown(annotation)}, but {source!r} is no value; annotate it `Folder` to get the artifact's folder")
    import json

    return _typed(json.loads(file.read_bytes()), annotation)


def _typed(value: Any, annotation: Any) -> Any:
    if annotation is Any:
        return value
    from pydantic import ValidationError

    try:
        return adapter(annotation).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "".join(f"[{part!r}]" for part in first["loc"])
        raise ValueError(f"is not {_shown(annotation)}: {first['msg']}{' at ' + place if place else ''} (value: {value!r:.80})") from error


def adapter(annotation: Any) -> TypeAdapter[Any]:
    """Kept for built-in types; the user's own types are others after each edit."""
    if isinstance(annotation, type) and annotation.__module__ == "builtins":
        return _builtin_adapter(annotation)
    from pydantic import TypeAdapter

    return TypeAdapter(annotation)


@functools.cache
def _builtin_adapter(annotation: type) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(annotation)


def _shown(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation)
