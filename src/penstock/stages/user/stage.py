"""A function of the user's own as a step: typed parameters in, folders, a value or metrics out."""

from __future__ import annotations

import contextlib
import inspect
import signal
import threading
from collections.abc import Iterator
from typing import Any

from penstock.core.digests import canonical
from penstock.core.errors import BadInput, Interrupted
from penstock.spec.steps import UserConfig
from penstock.stages.contract import Context, Inputs, Metrics, Outputs
from penstock.stages.user import types
from penstock.stages.user.call import adapter, bind, check_code, function_of, signature_of, wants_context


class UserStage:
    name = "user"
    version = "1"

    def run(self, config: UserConfig, inputs: Inputs, outputs: Outputs, context: Context) -> Metrics:
        """Raises BadInput for arguments and results that do not fit the annotations; errors of the function pass through."""
        function = function_of(config.uses)
        if inspect.iscoroutinefunction(function):
            raise BadInput(f"{config.uses} is an async function; write a plain one that calls asyncio.run")
        check_code(config.code, config.uses)
        signature = signature_of(function, config.uses)
        arguments = bind(signature, config, inputs, outputs, context)
        stops_itself = any(wants_context(annotation) for annotation in signature.parameters.values())
        with contextlib.nullcontext() if stops_itself else _stopped_by_signal(context):
            returned = function(**arguments)
        if signature.returns is types.Metrics:
            return _metrics(returned, config.uses)
        if signature.returns is type(None) and returned is not None:
            raise BadInput(f"{config.uses} is annotated `-> None` but returned a {type(returned).__name__}")
        if returned is not None:
            _write_value(returned, signature.returns, config.uses, outputs)
        return {}


@contextlib.contextmanager
def _stopped_by_signal(context: Context) -> Iterator[None]:
    """A function that does not look at `context.stopping()` is interrupted where it stands."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, _frame: object) -> None:
        raise Interrupted(f"stopped by {signal.Signals(number).name}")

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        if context.stopping():
            raise Interrupted("stopped before the function began")
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _metrics(returned: Any, uses: str) -> Metrics:
    if not isinstance(returned, dict):
        raise BadInput(f"{uses} is annotated `-> Metrics` but returned a {type(returned).__name__}; return a dict of numbers")
    wrong = {name: value for name, value in returned.items() if not isinstance(name, str) or not hasattr(value, "__float__")}
    if wrong:
        raise BadInput(f"{uses}: metrics are numbers by name, but these are not: {wrong!r:.200}")
    return {name: float(value) for name, value in returned.items()}


def _write_value(returned: Any, annotation: Any, uses: str, outputs: Outputs) -> None:
    from pydantic import ValidationError
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    try:
        value = adapter(annotation).validate_python(returned) if annotation is not Any else returned
        data = canonical(to_jsonable_python(value, inf_nan_mode="constants"))  # so that NaN is refused, not silently null
    except ValidationError as error:
        raise BadInput(f"{uses} returned what is not its annotation: {error.errors(include_url=False)[0]['msg']}") from error
    except (PydanticSerializationError, ValueError) as error:
        raise BadInput(f"{uses} returned a {type(returned).__name__} that is not JSON: {error}") from error
    (outputs.folder("value", "value") / "value.json").write_bytes(data)
