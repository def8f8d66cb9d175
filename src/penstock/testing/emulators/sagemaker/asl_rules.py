"""What Step Functions refuses in a definition that moto's grammar lets pass: names, targets of `Next`, limits, requests of training jobs.

Sources: the Amazon States Language's specification; "Step Functions service quotas"; "Intrinsic functions" (ten to a field).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from penstock.testing.emulators.sagemaker import shapes

_FUNCTIONS, _NAME, _DEFINITION = 10, 80, 1 << 20
TRAIN = "arn:aws:states:::sagemaker:createTrainingJob.sync"


def complaints(definition: Mapping[str, Any]) -> Iterator[str]:
    names: list[str] = []
    yield from _machine(definition, "", names)
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"State name {name!r} is used twice"


def _machine(machine: Mapping[str, Any], at: str, names: list[str]) -> Iterator[str]:
    states = machine.get("States", {})
    if machine.get("StartAt") not in states:
        yield f"{at}/StartAt: {machine.get('StartAt')!r} is no state"
    reached = {machine.get("StartAt")}
    for name, state in states.items():
        place = f"{at}/States/{name}"
        names.append(name)
        if len(name) > _NAME:
            yield f"{place}: longer than {_NAME} characters"
        following = [state["Next"]] if "Next" in state else []
        following += [catch["Next"] for catch in state.get("Catch", ())]
        reached |= set(following)
        for other in following:
            if other not in states:
                yield f"{place}: Next {other!r} is no state"
        if state["Type"] not in ("Fail", "Succeed") and ("Next" in state) == bool(state.get("End")):
            yield f"{place}: exactly one of Next and End"
        for retry in state.get("Retry", ()):
            if retry.get("MaxDelaySeconds", 1 << 30) <= retry.get("IntervalSeconds", 1):
                yield f"{place}: MaxDelaySeconds must be greater than IntervalSeconds"
        yield from _fields(state, place)
        for at_branch, branch in enumerate(state.get("Branches", ())):
            yield from _machine(branch, f"{place}/Branches/{at_branch}", names)
        if state.get("Resource") == TRAIN:
            yield from (f"{place}: {told}" for told in _request(state["Parameters"]))
    for name in sorted(states.keys() - reached):
        yield f"{at}/States/{name} is not reachable"


def _fields(value: Any, place: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == "Branches":
                continue
            if key.endswith(".$") and isinstance(inner, str):
                if len(re.findall(r"States\.\w+\(", inner)) > _FUNCTIONS:
                    yield f"{place}/{key}: more than {_FUNCTIONS} intrinsic functions"
                if not inner.startswith(("$", "States.")):
                    yield f"{place}/{key}: {inner!r} is neither a path nor an intrinsic function"
            yield from _fields(inner, f"{place}/{key}")
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from _fields(inner, f"{place}/{at}")


def _request(parameters: Mapping[str, Any]) -> Iterator[str]:
    """As CreateTrainingJob would see it, with a word for each value that is not known yet."""
    shape = shapes.model("sagemaker").operation_model("CreateTrainingJob").input_shape
    yield from shapes.complaints(_filled(parameters), shape)


def _filled(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key.removesuffix(".$"): "unknown" if key.endswith(".$") else _filled(inner) for key, inner in value.items()}
    return [_filled(inner) for inner in value] if isinstance(value, list) else value
