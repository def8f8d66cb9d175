"""From the `deploy` and `monitor` sections that a deployment carries to what the gateway reads of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from penstock.serving.snapshot import Capture, Guard, ModelRoute, Price, Protection
from penstock.spec.deploy import Deploy
from penstock.spec.monitor import Monitor

KEPT = ("engine", "scale", "protect", "guardrails", "traffic", "strategy", "rollback_when", "price")


def kept(deploy: Mapping[str, Any], monitor: Mapping[str, Any] | None) -> dict[str, Any]:
    """What of the two sections goes into a deployment's row: JSON values, defaults left out."""
    read = Deploy.model_validate(deploy).model_dump(mode="json", include=set(KEPT), exclude_defaults=True)
    return {**read, "monitor": Monitor.model_validate(monitor or {}).model_dump(mode="json", exclude_defaults=True)}


def deploy_of(row: Mapping[str, Any]) -> Deploy:
    """The section as a row's spec carries it under `deploy`; older rows have none."""
    return Deploy.model_validate({name: value for name, value in row.get("deploy", {}).items() if name in KEPT})


def with_policy(route: ModelRoute, row: Mapping[str, Any]) -> ModelRoute:
    """`route` with everything but its versions and traffic taken from the row's spec."""
    deploy = deploy_of(row)
    monitor = Monitor.model_validate(row.get("deploy", {}).get("monitor", {}))
    protect, capture = deploy.protect, monitor.capture
    protection = Protection(
        protect.timeout,
        protect.first_byte,
        protect.retries,
        protect.retry_budget,
        protect.hedge,
        protect.fallback,
        protect.concurrency,
        protect.queue,
        protect.hold if deploy.scale.sleeps else 0.0,
    )
    guards = []
    for rail in deploy.guardrails:
        for check in type(rail).model_fields:
            if (guard := getattr(rail, check)) is not None:
                guards.append(Guard(check, guard.action, guard.on, guard.threshold, guard.types, guard.words))
    price = Price(deploy.price.prompt, deploy.price.completion, deploy.price.request)
    kept_text = Capture(capture.sample, capture.mask) if capture is not None else None
    return replace(route, protection=protection, guards=tuple(guards), price=price, capture=kept_text)
