"""Schedules and events of EventBridge: what expressions are taken, and what starts when an object comes.

Sources: "Schedule types in EventBridge Scheduler"; "Amazon S3 object-level events" (EventBridge's form).
"""

from __future__ import annotations

import json
import re
import uuid
import zoneinfo
from collections.abc import Mapping
from typing import Any

from penstock.testing.emulators.sagemaker.account import NUMBER, Account
from penstock.testing.emulators.sagemaker.errors import AwsError

_RATE = re.compile(r"rate\((1 (minute|hour|day)|([2-9]|[1-9]\d+) (minutes|hours|days))\)")
_NUMBERS = r"(\d+(-\d+)?(/\d+)?)(,\d+(-\d+)?(/\d+)?)*"
_WORDS = r"([A-Z]{3}(-[A-Z]{3})?)(,[A-Z]{3}(-[A-Z]{3})?)*"
_FIELDS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\*|{_NUMBERS}",
        rf"\*|{_NUMBERS}",
        rf"[*?L]|{_NUMBERS}",
        rf"\*|{_NUMBERS}|{_WORDS}",
        rf"[*?L]|{_NUMBERS}|{_WORDS}|[1-7]#[1-5]",
        rf"\*|{_NUMBERS}",
    )
)


def check_expression(text: str, timezone: str | None) -> None:
    """Raises AwsError."""
    if timezone is not None and timezone not in zoneinfo.available_timezones():
        raise AwsError("ValidationException", "Provided Schedule Expression Timezone is not valid.")
    if _RATE.fullmatch(text):
        return
    found = re.fullmatch(r"cron\((.*)\)", text)
    parts = found[1].split(" ") if found else []
    good = len(parts) == len(_FIELDS) and all(field.fullmatch(part) for field, part in zip(_FIELDS, parts, strict=True))
    if not good or (parts[2] == "?") == (parts[4] == "?"):
        raise AwsError("ValidationException", "Invalid Schedule Expression " + text + ".")


def object_created(account: Account, bucket: str, key: str) -> list[str]:
    """An object was written; gives the names of the executions that its event starts."""
    from moto.events.models import EventPattern
    from moto.s3.models import s3_backends

    told = s3_backends[NUMBER]["aws"].buckets[bucket].notification_configuration  # which moto keeps and does not tell
    if told is None or told.event_bridge is None:
        return []
    event = {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": NUMBER,
        "region": account.region,
        "resources": [f"arn:aws:s3:::{bucket}"],
        "detail": {"version": "0", "bucket": {"name": bucket}, "object": {"key": key, "size": 5}, "reason": "PutObject"},
    }
    events, started = account.client("events"), []
    for rule in events.list_rules()["Rules"]:
        pattern = json.loads(rule.get("EventPattern") or "{}")
        if rule["State"] == "ENABLED" and pattern and EventPattern(None, pattern).matches_event(event):
            started += [_started(account, target, event) for target in events.list_targets_by_rule(Rule=rule["Name"])["Targets"]]
    return started


def _started(account: Account, target: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    name = f"{uuid.uuid4()}_{uuid.uuid4()}"  # as EventBridge names them: 73 characters
    told = target.get("Input") or json.dumps(event)
    account.client("stepfunctions").start_execution(stateMachineArn=target["Arn"], name=name, input=told)
    return name
