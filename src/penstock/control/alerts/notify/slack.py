"""Slack: an incoming webhook, the message as blocks.

Limits are those of https://docs.slack.dev/reference/block-kit/blocks: 50 blocks, 150 characters of a header, 3000 of a section.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from penstock.control.alerts.notify.contract import SHOWN, Item, Message, Post
from penstock.control.alerts.notify.posting import Http
from penstock.control.alerts.words import clock

HEADER, SECTION = 150, 3000
_SIGNS = {"critical": ":red_circle:", "warning": ":large_orange_circle:", "info": ":large_blue_circle:"}


def say(settings: Mapping[str, Any], message: Message) -> Post:
    body = {"text": _escaped(message.title), "blocks": list(_blocks(message))}
    return Post(settings["url"], json.dumps(body, ensure_ascii=False).encode(), settings.get("headers", {}), taken=(200,))


def _blocks(message: Message) -> Iterator[dict[str, Any]]:
    yield {"type": "header", "text": {"type": "plain_text", "text": _cut(message.title, HEADER), "emoji": False}}
    if message.test:
        yield _section("This is a test: nothing is wrong.")
    for item in message.items[:SHOWN]:
        yield _section(_told(item))
    if len(message.items) > SHOWN:
        yield _section(f"and {len(message.items) - SHOWN} more")
    context = f"{clock(message.at)}" + (f" · <{_escaped(message.link)}|{_escaped(message.deployment)}>" if message.link else "")
    yield {"type": "context", "elements": [{"type": "mrkdwn", "text": context}]}


def _told(item: Item) -> str:
    sign = _SIGNS[item.severity] if item.status == "firing" else ":white_check_mark:"
    lines = [f"{sign} *{_escaped(item.name)}*" + (" (new)" if item.fresh else ""), _escaped(item.message)]
    if item.status == "firing":
        lines += [f"• {_escaped(line)}" for line in item.evidence]
        lines += [f"• cause: {_escaped(line)}" for line in item.causes]
    elif item.resolved_at is not None:
        lines.append(f"over since {clock(item.resolved_at)}")
    return "\n".join(lines)


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": _cut(text, SECTION)}}


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _escaped(text: str) -> str:
    """Slack's three control characters, and nothing else (https://docs.slack.dev/messaging/formatting-message-text)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


SLACK = Http(say)
