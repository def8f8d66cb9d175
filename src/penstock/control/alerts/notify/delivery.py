"""From a receiver's section to a message that was taken: the way is found, secrets are put in, and told of nowhere."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from typing import Any

from penstock.control.alerts.notify.contract import Message, Way
from penstock.control.alerts.notify.posting import TIMEOUT_S, refused
from penstock.control.alerts.notify.table import WAYS
from penstock.core.errors import NotDelivered, PenstockError
from penstock.core.outbound import ask
from penstock.spec.react import Receiver
from penstock.spec.references import resolve_secret, secrets_in

LEAST_SECRET = 4  # characters; shorter values would be struck out of ordinary words


def way_of(receiver: Receiver) -> Way:
    way: Way = WAYS.load(receiver.ways[0])
    return way


def deliver(receiver: Receiver, message: Message, environ: Mapping[str, str] | None = None) -> None:
    """Returns once the receiver has taken the message. Raises NotDelivered, OutboundRefused, ReferenceUnset; none shows a secret."""
    name = receiver.ways[0]
    section = getattr(receiver, name).model_dump(mode="json")
    settings, values = _opened(section, environ)
    try:
        way_of(receiver).send(settings, message)
    except PenstockError as error:
        error.message = _hidden(error.message, values)
        error.args = (error.message,)
        raise
    except ssl.SSLError as error:
        raise NotDelivered(_hidden(f"no encrypted connection: {error.reason or type(error).__name__}", values), hopeless=True) from None
    except (OSError, ValueError) as error:
        raise NotDelivered(_hidden(f"cannot be reached: {_said(error)}", values)) from None


def beat(url: str, environ: Mapping[str, str] | None = None) -> None:
    """Asks a heartbeat's URL. Raises NotDelivered, OutboundRefused, ReferenceUnset."""
    opened, values = _opened({"url": url}, environ)
    try:
        answer = ask("GET", opened["url"], timeout_s=TIMEOUT_S)
    except (OSError, ValueError) as error:
        raise NotDelivered(_hidden(f"cannot be reached: {_said(error)}", values)) from None
    if not 200 <= answer.status < 300:
        told = refused(answer)
        raise NotDelivered(_hidden(told.message, values), hopeless=told.hopeless, after_s=told.after_s)


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or (str(error) if isinstance(error, TimeoutError) else type(error).__name__)


def _opened(section: Mapping[str, Any], environ: Mapping[str, str] | None) -> tuple[dict[str, Any], list[str]]:
    """The section with secrets put in, and their values."""
    values = [resolve_secret(f"${{secret:{name}}}", environ) for name in dict.fromkeys(secrets_in(section))]
    return {name: _put(value, environ) for name, value in section.items()}, values


def _put(value: Any, environ: Mapping[str, str] | None) -> Any:
    if isinstance(value, str):
        return resolve_secret(value, environ)
    if isinstance(value, Mapping):
        return {name: _put(item, environ) for name, item in value.items()}
    return [_put(item, environ) for item in value] if isinstance(value, list) else value


def _hidden(text: str, values: list[str]) -> str:
    for value in _pieces(values):
        text = text.replace(value, "[secret]")
    return text


def _pieces(values: list[str]) -> Iterator[str]:
    """Longest first, so that no rest of one stays."""
    yield from sorted((value for value in values if len(value) >= LEAST_SECRET), key=len, reverse=True)
