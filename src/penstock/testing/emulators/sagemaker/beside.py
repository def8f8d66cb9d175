"""Step Functions, EventBridge and EventBridge Scheduler: held to botocore's models and the services' rules, then answered by moto.

Not covered: aliases, activities, express machines, buses other than the default one.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from penstock.testing.emulators.http import Asked, Reply
from penstock.testing.emulators.sagemaker import shapes
from penstock.testing.emulators.sagemaker.account import MACHINES, Account
from penstock.testing.emulators.sagemaker.asl_rules import complaints
from penstock.testing.emulators.sagemaker.errors import AwsError
from penstock.testing.emulators.sagemaker.schedules import check_expression

_TARGETS = {"AWSStepFunctions": "stepfunctions", "AWSEvents": "events"}
SIGNED_FOR = {"stepfunctions": "states", "events": "events", "scheduler": "scheduler"}
VERSIONS, STARTED = "state-machine-version", "started"


@dataclass(frozen=True, slots=True)
class Call:
    """`service`: botocore's name. `values`: members of the operation's input."""

    service: str
    operation: str
    values: dict[str, Any]


def call_of(asked: Asked) -> Call | None:
    """None: it is for SageMaker."""
    target, _, operation = asked.headers.get("x-amz-target", "").partition(".")
    if target in _TARGETS:
        return Call(_TARGETS[target], operation, json.loads(asked.body or b"{}"))
    split = urlsplit(asked.target)
    if split.path.startswith(("/schedules", "/schedule-groups", "/tags/arn")):
        return _scheduler(asked.method, split.path, parse_qs(split.query), asked.body)
    return None


def _scheduler(method: str, path: str, query: Mapping[str, list[str]], body: bytes) -> Call:
    model = shapes.model("scheduler")
    for name in model.operation_names:
        described = model.operation_model(name)
        pattern = described.http["requestUri"].split("?")[0].split("/")
        parts = path.split("/")
        if described.http["method"] != method or len(pattern) != len(parts):
            continue
        if not all(want == got or want.startswith("{") for want, got in zip(pattern, parts, strict=True)):
            continue
        values = json.loads(body) if body else {}
        members = described.input_shape.members if described.input_shape else {}
        for member, shape in members.items():
            place, known = shape.serialization.get("location"), shape.serialization.get("name", member)
            if place == "uri":
                values[member] = unquote(next(got for want, got in zip(pattern, parts, strict=True) if want == f"{{{known}}}"))
            elif place == "querystring" and known in query:
                values[member] = int(query[known][0]) if shape.type_name == "integer" else query[known][0]
        return Call("scheduler", name, values)
    raise AwsError("UnknownOperationException", f"{method} {path} is not emulated", 404)


def answer(account: Account, asked: Asked, call: Call) -> Reply:
    """Raises AwsError."""
    described = shapes.model(call.service).operation_model(call.operation)
    if described.input_shape is not None and (told := shapes.told(call.values, described.input_shape)):
        raise AwsError("ValidationException", told)
    rule = _RULES.get(call.operation)
    own = rule(account, call.values) if rule else None
    if own is not None:
        return Reply(200, json.dumps(own).encode(), {"content-type": "application/x-amz-json-1.0"})
    reply = _passed_on(account, asked, call)
    if reply.status < 300 and call.operation in ("CreateStateMachine", "UpdateStateMachine"):
        _remember(account, call.values, json.loads(reply.body))
    return reply


def _passed_on(account: Account, asked: Asked, call: Call) -> Reply:
    split = urlsplit(account.aws["AWS_ENDPOINT_URL"])
    connection = http.client.HTTPConnection(split.netloc, timeout=60)
    kept = {name: value for name, value in asked.headers.items() if name not in ("host", "content-length", "connection", "expect")}
    body = json.dumps(call.values).encode() if call.service != "scheduler" else asked.body
    try:
        connection.request(asked.method, asked.target, body, {**kept, "host": split.netloc})
        got = connection.getresponse()
        shown = {name: value for name, value in got.getheaders() if name.lower() in ("content-type", "x-amzn-errortype")}
        return Reply(got.status, got.read(), shown)
    finally:
        connection.close()


def _create_machine(account: Account, asked: Mapping[str, Any]) -> None:
    from penstock.testing.emulators.sagemaker import interpreter  # a second to load: only where machines are made

    interpreter.install()
    _role(account, asked["roleArn"])
    _definition(asked["definition"])
    machines = account.client("stepfunctions").list_state_machines()["stateMachines"]
    if (there := next((row for row in machines if row["name"] == asked["name"]), None)) is not None:
        known = account.client("stepfunctions").describe_state_machine(stateMachineArn=there["stateMachineArn"])
        if known["definition"] != asked["definition"]:
            raise AwsError("StateMachineAlreadyExists", f"State Machine Already Exists: '{there['stateMachineArn']}'")


def _update_machine(account: Account, asked: Mapping[str, Any]) -> None:
    if "roleArn" in asked:
        _role(account, asked["roleArn"])
    if "definition" in asked:
        _definition(asked["definition"])


def _definition(text: str) -> None:
    try:
        found = list(complaints(json.loads(text)))
    except ValueError as error:
        raise AwsError("InvalidDefinition", f"Invalid State Machine Definition: 'INVALID_JSON_DESCRIPTION: {error}'") from None
    if found:
        raise AwsError("InvalidDefinition", f"Invalid State Machine Definition: 'SCHEMA_VALIDATION_FAILED: {'; '.join(found)}'")


def _role(account: Account, role: str) -> None:
    if role not in account.roles:
        raise AwsError("AccessDeniedException", f"states.amazonaws.com is not authorized to assume {role}")


def _remember(account: Account, asked: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    arn = asked.get("stateMachineArn") or given["stateMachineArn"]
    MACHINES[arn] = account
    if (version := given.get("stateMachineVersionArn")) is not None:
        rows = account.of(VERSIONS).setdefault(arn, [])
        rows[:] = [version, *(row for row in rows if row != version)]


def _start(account: Account, asked: dict[str, Any]) -> None:
    """A version is what runs: moto knows machines alone, and the newest version is what they are."""
    account.of(STARTED).setdefault(asked["stateMachineArn"], []).append(asked.get("name"))
    for arn, rows in account.of(VERSIONS).items():
        if asked["stateMachineArn"] in rows:
            if asked["stateMachineArn"] != rows[0]:
                raise AwsError("ValidationException", "Old versions are not emulated.")
            asked["stateMachineArn"] = arn
    name = asked.get("name") or ""
    arn = f"{asked['stateMachineArn'].replace(':stateMachine:', ':execution:')}:{name}"
    client = account.client("stepfunctions")
    try:
        known = client.describe_execution(executionArn=arn)
    except client.exceptions.ClientError:
        return
    if known["status"] != "RUNNING" or json.loads(known["input"]) != json.loads(asked.get("input") or "{}"):
        raise AwsError("ExecutionAlreadyExists", f"Execution Already Exists: '{arn}'")


def _versions(account: Account, asked: Mapping[str, Any]) -> dict[str, Any]:
    rows = account.of(VERSIONS).get(asked["stateMachineArn"], [])
    return {"stateMachineVersions": [{"stateMachineVersionArn": row, "creationDate": account.clock()} for row in rows]}


def _delete_version(account: Account, asked: Mapping[str, Any]) -> dict[str, Any]:
    for rows in account.of(VERSIONS).values():
        rows[:] = [row for row in rows if row != asked["stateMachineVersionArn"]]
    return {}


def _create_group(account: Account, asked: Mapping[str, Any]) -> None:
    groups = account.client("scheduler").list_schedule_groups()["ScheduleGroups"]
    if any(row["Name"] == asked["Name"] for row in groups):
        raise AwsError("ConflictException", f"Schedule group {asked['Name']} already exists.", 409)


def _schedule(account: Account, asked: Mapping[str, Any]) -> None:
    check_expression(asked["ScheduleExpression"], asked.get("ScheduleExpressionTimezone"))
    _target(account, asked["Target"])


def _targets(account: Account, asked: Mapping[str, Any]) -> None:
    for target in asked["Targets"]:
        if "RoleArn" not in target:
            raise AwsError("ValidationException", f"RoleArn is required for target {target['Arn']}.")
        _target(account, target)


def _target(account: Account, target: Mapping[str, Any]) -> None:
    if target["RoleArn"] not in account.roles:
        raise AwsError("ValidationException", f"The execution role you provide must allow AWS to assume the role: {target['RoleArn']}")
    if target["Arn"] not in MACHINES:
        raise AwsError("ValidationException", f"Provided Arn is not in correct format: {target['Arn']}")


_RULES: Mapping[str, Callable[[Account, dict[str, Any]], dict[str, Any] | None]] = {
    "CreateStateMachine": _create_machine,
    "UpdateStateMachine": _update_machine,
    "StartExecution": _start,
    "ListStateMachineVersions": _versions,
    "DeleteStateMachineVersion": _delete_version,
    "CreateScheduleGroup": _create_group,
    "CreateSchedule": _schedule,
    "UpdateSchedule": _schedule,
    "PutTargets": _targets,
}
