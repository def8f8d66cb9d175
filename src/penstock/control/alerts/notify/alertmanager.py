"""Alertmanager: its API v2 (`api/v2/openapi.yaml` of its repository) takes alerts with labels, and forgets those that are not sent again.

Penstock's silences and its pauses between messages hold before, Alertmanager's own routes, silences and inhibitions after.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from penstock.control.alerts.notify.contract import Item, Message, Post
from penstock.control.alerts.notify.posting import Http
from penstock.control.alerts.words import clock

REFRESH_S, LASTS_S = 60.0, 300.0
PATH = "/api/v2/alerts"


def say(settings: Mapping[str, Any], message: Message) -> Post:
    url = str(settings["url"]).rstrip("/")
    body = [_alert(item, message) for item in message.items]
    return Post(url if url.endswith(PATH) else url + PATH, json.dumps(body, ensure_ascii=False).encode(), settings.get("headers", {}))


def _alert(item: Item, message: Message) -> dict[str, Any]:
    labels = {"alertname": item.name, **{name: value for name, value in item.labels.items() if name != "alert"}, "source": "penstock"}
    labels |= {"test": "true"} if message.test else {}
    told = {"summary": item.message, "description": "\n".join([*item.evidence, *(f"cause: {cause}" for cause in item.causes)])}
    over = item.resolved_at if item.resolved_at is not None else message.at + LASTS_S
    alert: dict[str, Any] = {
        "labels": labels,
        "annotations": {name: text for name, text in told.items() if text},
        "startsAt": clock(item.fired_at),
        "endsAt": clock(max(over, item.fired_at)),
    }
    return alert | ({"generatorURL": message.link} if message.link else {})


ALERTMANAGER = Http(say, REFRESH_S)
