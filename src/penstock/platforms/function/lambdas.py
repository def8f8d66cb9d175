"""Lambda's side: the handler that its runtime calls, and what the image runs there.

Name `penstock.platforms.function.lambdas.handler` as the handler of a function whose code is a folder with Penstock in it; the image's own
command (`penstock serve`) starts AWS's runtime client (awslambdaric) with it. The model is loaded when the handler is looked up.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, Protocol

from penstock.core.errors import ExtraMissing
from penstock.platforms.function.events import Call, answer_that_fits, call_of, refusal
from penstock.platforms.function.function import Function, opened
from penstock.serving.errors import RequestRefused, broken

RUNTIME = "AWS_LAMBDA_RUNTIME_API"
_MARGIN_S = 0.25  # before Lambda's deadline, to say so while there is time


class Context(Protocol):
    """Of one invocation, as the runtime client gives it."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int: ...


def __getattr__(name: str) -> Any:
    """`handler`, made when it is first looked up: that is Lambda's init, when the whole processor is given to loading."""
    if name == "handler":
        return _made()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@functools.cache
def _made() -> Callable[[Any, Context], Any]:
    return handler_of(opened(os.environ))


def handler_of(function: Function) -> Callable[[Any, Context], Any]:
    """The handler: an answer for every event, errors in the API's own shape. It raises only what is broken beyond answering."""

    def handle(event: Any, context: Context) -> Any:
        web = isinstance(event, dict) and ("requestContext" in event or "httpMethod" in event)
        try:
            call = call_of(event)
            web = call.web
            held = function.ask(_named(call, context), max(0.0, context.get_remaining_time_in_millis() / 1000 - _MARGIN_S))
        except RequestRefused as refused:
            held = refusal(refused)
        except Exception as error:
            held = refusal(broken(error, context.aws_request_id, "The function failed", "function_failed"))
        return answer_that_fits(held, web)

    return handle


def _named(call: Call, context: Context) -> Call:
    """With Lambda's id of the request, unless the client has given one."""
    headers = {"x-request-id": context.aws_request_id, **call.headers}
    return Call(call.method, call.path, headers, call.body, call.web)


def run() -> int:
    """Until Lambda ends the process. Raises ExtraMissing."""
    try:
        from awslambdaric.__main__ import main
    except ModuleNotFoundError as error:
        raise ExtraMissing("Lambda's runtime client is not installed", remedy="Run: pip install 'penstock[lambda]'") from error
    main(["penstock", f"{__name__}.handler"])
    return 0
