"""A JSON document to any URL; its shape is docs/reference/alert-webhook.md, and a test holds it to the schema there.

With `sign` its header x-penstock-signature is `t=<seconds>,v1=<hex>`, the HMAC-SHA256 of `<seconds>.<body>`: who has the key can tell that
it was sent by this installation, and not long ago.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

from penstock.control.alerts.notify.contract import Message, Post
from penstock.control.alerts.notify.posting import Http

SIGNATURE = "x-penstock-signature"


def say(settings: Mapping[str, Any], message: Message) -> Post:
    body = json.dumps(document(message), ensure_ascii=False, separators=(",", ":")).encode()
    headers = dict(settings.get("headers", {}))
    if settings.get("sign"):
        headers[SIGNATURE] = signature(str(settings["sign"]), body, int(time.time()))
    return Post(settings["url"], body, headers, taken=tuple(range(200, 300)))


def document(message: Message) -> dict[str, Any]:
    alerts = [
        {
            "id": item.id,
            "name": item.name,
            "status": item.status,
            "severity": item.severity,
            "message": item.message,
            "labels": dict(item.labels),
            "fired_at": item.fired_at,
            "resolved_at": item.resolved_at,
            "new": item.fresh,
            "evidence": list(item.evidence),
            "causes": list(item.causes),
            "acked_by": item.acked_by,
        }
        for item in message.items
    ]
    about = {"version": 1, "id": message.id, "group": message.group, "deployment": message.deployment, "test": message.test}
    return {**about, "status": message.status, "severity": message.severity, "at": message.at, "link": message.link, "alerts": alerts}


def signature(key: str, body: bytes, at: int) -> str:
    """The value of the header."""
    return f"t={at},v1={hmac.new(key.encode(), b'%d.' % at + body, hashlib.sha256).hexdigest()}"


WEBHOOK = Http(say)
