"""What starts a state machine unasked: schedules of EventBridge Scheduler (which knows time zones), rules of EventBridge for new objects.

Schedules have no tags, so a project's lie in a group of its own, which has. Both services deliver at least once: a second start of the
same finds every step done. Not covered: an object that is written while its bucket does not tell EventBridge of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from penstock.core.errors import BadInput
from penstock.platforms.sagemaker.aws import Aws
from penstock.platforms.sagemaker.settings import store_mark
from penstock.platforms.workflows import Start

TARGET = "machine"
_ONCE = {"Mode": "OFF"}
_RETRIES = {"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 10}


def follow(aws: Aws, name: str, machine: str, starts: Sequence[Start], marks: Sequence[Mapping[str, str]], store: str) -> Sequence[str]:
    """The starts of the machine are these, by place in the list; what it had beyond them goes. Says what was made or changed."""
    timed, told = [one for one in starts if one.schedule], [one for one in starts if one.bucket]
    did: list[str] = []
    if timed:
        aws.call("scheduler:CreateScheduleGroup", _conflict, Name=group_name(store), Tags=[*marks[:1], _mark(store)])
    for at, one in enumerate(timed):
        did += _schedule(aws, f"{name}-{at}", machine, one, store)
    for at, one in enumerate(told):
        did += _tell_of(aws, one.bucket)
        did += _rule(aws, f"{name}-{at}", machine, one, marks)
    return [*did, *_withdraw(aws, name, store, len(timed), len(told))]


def withdraw(aws: Aws, name: str, store: str) -> Sequence[str]:
    """All of the machine's."""
    return _withdraw(aws, name, store, 0, 0)


def schedules(aws: Aws, store: str) -> Iterator[str]:
    """Names of the project's."""
    if aws.call("scheduler:GetScheduleGroup", _no_such, Name=group_name(store)) is None:
        return
    for row in aws.pages("scheduler:ListSchedules", "Schedules", GroupName=group_name(store)):
        yield row["Name"]


def rules(aws: Aws, store: str) -> Iterator[str]:
    """Names of the project's."""
    for row in aws.pages("events:ListRules", "Rules", NamePrefix="penstock-"):
        answer = aws.call("events:ListTagsForResource", _no_such, ResourceARN=row["Arn"])
        if answer is not None and _mark(store) in answer["Tags"]:
            yield row["Name"]


def group_name(store: str) -> str:
    return f"penstock-{store_mark(store)}"


def pattern(start: Start) -> dict[str, Any]:
    """Of "Object Created" events."""
    detail: dict[str, Any] = {"bucket": {"name": [start.bucket]}}
    if start.keys:
        detail["object"] = {"key": list(start.keys)}
    elif start.prefix:
        detail["object"] = {"key": [{"prefix": start.prefix}]}
    return {"source": ["aws.s3"], "detail-type": ["Object Created"], "detail": detail}


def _schedule(aws: Aws, name: str, machine: str, start: Start, store: str) -> Iterator[str]:
    target = {"Arn": machine, "RoleArn": aws.settings.workflow_role, "Input": "{}", "RetryPolicy": _RETRIES}
    wanted: dict[str, Any] = {
        "Name": name,
        "GroupName": group_name(store),
        "ScheduleExpression": start.schedule,
        "ScheduleExpressionTimezone": start.timezone,
        "FlexibleTimeWindow": _ONCE,
        "State": "ENABLED",
        "Target": target,
    }
    there = aws.call("scheduler:GetSchedule", _no_such, Name=name, GroupName=group_name(store))
    if there is not None and all(_within(value, there.get(key)) for key, value in wanted.items()):
        return
    if there is not None or aws.call("scheduler:CreateSchedule", _conflict, **wanted) is None:
        aws.call("scheduler:UpdateSchedule", **wanted)  # also one that a call made whose answer was lost
    yield f"schedule {name} {'changed' if there is not None else 'made'}: {start.shown()}"


def _rule(aws: Aws, name: str, machine: str, start: Start, marks: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Applied whole each time: a rule whose target was never put starts nothing, and says nothing."""
    there = aws.call("events:DescribeRule", _no_such, Name=name)
    same = there is not None and json.loads(there.get("EventPattern") or "{}") == pattern(start) and there.get("State") == "ENABLED"
    target = {"Id": TARGET, "Arn": machine, "RoleArn": aws.settings.workflow_role, "Input": "{}", "RetryPolicy": _RETRIES}
    if not same:
        wanted: dict[str, Any] = {"Name": name, "EventPattern": json.dumps(pattern(start)), "State": "ENABLED"}
        aws.call("events:PutRule", **(wanted | {"Tags": list(marks)} if there is None else wanted))
    answer = aws.call("events:PutTargets", Rule=name, Targets=[target]) or {}
    for row in answer.get("FailedEntries", ()):
        raise BadInput(f"events:PutTargets: {row.get('ErrorMessage') or row.get('ErrorCode')}")
    if not same:
        yield f"rule {name} {'changed' if there is not None else 'made'}: {start.shown()}"


def _tell_of(aws: Aws, bucket: str) -> Iterator[str]:
    """The bucket tells EventBridge of its objects; whatever else it tells stays as it is."""
    there = aws.call("s3:GetBucketNotificationConfiguration", None, Bucket=bucket) or {}
    kept = {key: value for key, value in there.items() if key != "ResponseMetadata"}
    if "EventBridgeConfiguration" in kept:
        return
    aws.call(
        "s3:PutBucketNotificationConfiguration", None, Bucket=bucket, NotificationConfiguration={**kept, "EventBridgeConfiguration": {}}
    )
    yield f"bucket {bucket} tells EventBridge of its objects now (and still does when the rule is gone)"


def _withdraw(aws: Aws, name: str, store: str, timed: int, told: int) -> list[str]:
    """All starts of the machine from these places on."""
    went = []
    for one in sorted(schedules(aws, store)):
        if _place(one, name) >= timed:
            aws.call("scheduler:DeleteSchedule", _no_such, Name=one, GroupName=group_name(store))
            went.append(f"schedule {one} removed")
    for one in sorted(rules(aws, store)):
        if _place(one, name) >= told:
            aws.call("events:RemoveTargets", _no_such, Rule=one, Ids=[TARGET])
            aws.call("events:DeleteRule", _no_such, Name=one)
            went.append(f"rule {one} removed")
    return went


def _place(start: str, machine: str) -> int:
    """-1: of another machine."""
    head, _, number = start.rpartition("-")
    return int(number) if head == machine and number.isdecimal() else -1


def _within(wanted: Any, there: Any) -> bool:
    """Whether all that is wanted is there so, beside what the service added."""
    if isinstance(wanted, Mapping):
        return isinstance(there, Mapping) and all(_within(value, there.get(key)) for key, value in wanted.items())
    return bool(wanted == there)


def _mark(store: str) -> dict[str, str]:
    return {"Key": "penstock-store", "Value": store_mark(store)}


def _no_such(code: str, message: str) -> bool:  # noqa: ARG001 (as every `known` has it)
    return code == "ResourceNotFoundException"


def _conflict(code: str, message: str) -> bool:  # noqa: ARG001
    return code == "ConflictException"
