"""Errors as OpenAI's clients expect them: `{"error": {message, type, param, code}}` with the fitting status."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable

import orjson

log = logging.getLogger("penstock.gateway")
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class RequestRefused(Exception):
    """What is wrong with one request, ready to be answered. `param` is the field at fault.

    `flags` and `seconds` are what guardrails found and how long they took, for the record.
    """

    flags: tuple[str, ...] = ()
    seconds: float = 0.0

    def __init__(self, status: int, message: str, code: str, param: str | None = None, headers: bytes = b"") -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param, self.headers = status, message, code, param, headers

    def body(self) -> bytes:
        return error_body(self.status, self.message, self.code, self.param)


def error_body(status: int, message: str, code: str, param: str | None = None) -> bytes:
    kind = _TYPES.get(status) or ("invalid_request_error" if status < 500 else "server_error")
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def broken(error: Exception, ident: str, says: str, code: str) -> RequestRefused:
    """500 for a defect of ours. Its message may quote a prompt, so only its kind and its place are logged."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace is not None else "?"
    log.error("request %s: %s at %s", ident, type(error).__name__, place)
    return RequestRefused(500, f"{says} ({type(error).__name__})", code)


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` or nothing."""
    near = difflib.get_close_matches(name[:128], list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def busy(message: str, code: str, after_s: int = 1) -> RequestRefused:
    """503; `after_s`: when asking again may help."""
    return RequestRefused(503, message, code, headers=b"retry-after: %d\r\n" % after_s)
