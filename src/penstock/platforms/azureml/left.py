"""What of ours is there: by tag, so that a leak is found whoever lost it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from penstock.platforms.azureml.arm import ALARM, BOARD, SCALE, Arm
from penstock.platforms.azureml.naming import TAG, store_mark

_ENDED = ("Completed", "Failed", "Canceled")


def left(arm: Arm, store: str) -> Sequence[str]:
    """`kind name` of jobs that run, online and batch endpoints, autoscale settings, dashboards and rules of the project whose artifacts are
    in `store`.

    An endpoint that is being deleted is as good as gone: nothing stops that.
    """
    return sorted(_found(arm, store_mark(store)))


def _found(arm: Arm, mark: str) -> Iterator[str]:
    for row in arm.pages("jobs", tag=TAG):
        properties = row["properties"]
        if properties["status"] not in _ENDED and _tag(properties) == mark:
            yield f"job {row['name']}"
    for row in arm.pages("onlineEndpoints", tags=TAG):
        if row["properties"].get("provisioningState") != "Deleting" and _tag(row) == mark:
            yield f"online endpoint {row['name']}"
    for row in arm.pages("batchEndpoints", tags=TAG):
        if row["properties"].get("provisioningState") != "Deleting" and _tag(row) == mark:
            yield f"batch endpoint {row['name']}"
    for kind, what, asked in (
        (SCALE, "autoscale setting", arm.settings.autoscale is not None),
        (ALARM, "alert rule", arm.settings.metrics),
        (BOARD, "dashboard", arm.settings.metrics),
    ):
        answer = arm.beside(kind, "GET") if asked else None
        for row in answer.body.get("value", ()) if answer is not None else ():
            if _tag(row) == mark:
                yield f"{what} {row['name']}"


def _tag(row: Mapping[str, Any]) -> str | None:
    return (row.get("tags") or {}).get(TAG)
