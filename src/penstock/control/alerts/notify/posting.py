"""Sending the requests of ways that speak HTTP, and what an answer means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from penstock.control.alerts.notify.contract import Message, Post
from penstock.core.errors import NotDelivered
from penstock.core.outbound import Answer, ask

TIMEOUT_S = 5.0
SHOWN = 200  # characters of an answer that are told
_PASSING = (408, 425, 429)


@dataclass(frozen=True, slots=True)
class Http:
    """A way that posts what `say` makes of a message."""

    say: Callable[[Mapping[str, Any], Message], Post]
    refresh_s: float | None = None

    def send(self, settings: Mapping[str, Any], message: Message) -> None:
        request = self.say(settings, message)
        headers = {"content-type": "application/json", "idempotency-key": message.id, **request.headers}
        answer = ask("POST", request.url, request.body, headers, TIMEOUT_S)
        if answer.status not in request.taken:
            raise refused(answer)


def refused(answer: Answer) -> NotDelivered:
    """What the receiver's answer means for trying again."""
    said = " ".join(answer.body.decode("utf-8", "replace").split())[:SHOWN]
    if 300 <= answer.status < 400:
        said = "redirects are not followed"
    hopeless = answer.status < 500 and answer.status not in _PASSING
    return NotDelivered(f"answered {answer.status}: {said or 'nothing'}", hopeless=hopeless, after_s=_retry_after(answer))


def _retry_after(answer: Answer) -> float | None:
    """Seconds that it asked for (RFC 9110, 10.2.3); a date is not read."""
    given = answer.headers.get("retry-after", "")
    return float(given) if given.isascii() and given.isdigit() and len(given) < 8 else None
