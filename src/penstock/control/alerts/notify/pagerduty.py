"""PagerDuty: one incident a group, opened and closed by Events API v2 (https://developer.pagerduty.com/docs/send-alert-event)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from penstock.control.alerts.notify.contract import Message, Post
from penstock.control.alerts.notify.posting import Http
from penstock.control.alerts.words import clock
from penstock.core.digests import digest_json, hex_of

SUMMARY = 1024


def say(settings: Mapping[str, Any], message: Message) -> Post:
    event: dict[str, Any] = {
        "routing_key": settings["routing_key"],
        "dedup_key": hex_of(digest_json([message.group, message.test])),
        "event_action": "trigger" if message.status == "firing" else "resolve",
    }
    if message.status == "firing":
        event |= {"payload": _payload(message), "client": "Penstock"}
        if message.link:
            event |= {"client_url": message.link}
    return Post(settings["url"], json.dumps(event, ensure_ascii=False).encode(), taken=(202,))


def _payload(message: Message) -> dict[str, Any]:
    first = message.firing[0]
    told = f"{message.title}: {first.message}"
    return {
        "summary": told if len(told) <= SUMMARY else told[: SUMMARY - 1] + "…",
        "source": message.deployment,
        "severity": message.severity,
        "timestamp": clock(min(item.fired_at for item in message.firing)),
        "component": message.deployment,
        "group": message.group,
        "class": first.labels.get("signal", first.name),
        "custom_details": {"alerts": message.lines()},
    }


PAGERDUTY = Http(say)
