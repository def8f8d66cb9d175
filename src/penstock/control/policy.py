"""From the sections of the file that a deployment carries to what the gateway reads of them, and to what its monitor does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from penstock.serving.snapshot import Capture, Guard, ModelRoute, Price, Protection
from penstock.spec.deploy import Deploy
from penstock.spec.monitor import Monitor
from penstock.spec.react import AlertRule, Notify, Reaction

KEPT = ("engine", "scale", "protect", "guardrails", "traffic", "strategy", "rollback_when", "price")
BESIDE = ("monitor", "alerts", "notify", "react")  # sections of the file that a deployment carries along beside `deploy`


@dataclass(frozen=True, slots=True)
class Watching:
    """What is watched, told and done about a deployment. Secrets in it are references still."""

    monitor: Monitor
    alerts: tuple[AlertRule, ...] = ()
    notify: Notify = field(default_factory=Notify)
    react: tuple[Reaction, ...] = ()


def kept(sections: Mapping[str, Any]) -> dict[str, Any]:
    """What goes into a deployment's row: JSON values, defaults left out. `sections`: `deploy`, with those of BESIDE as keys in it."""
    deploy = {name: value for name, value in sections.items() if name not in BESIDE}
    read = Deploy.model_validate(deploy).model_dump(mode="json", include=set(KEPT), exclude_defaults=True)
    read["monitor"] = Monitor.model_validate(sections.get("monitor") or {}).model_dump(mode="json", exclude_defaults=True)
    if alerts := sections.get("alerts"):
        read["alerts"] = [AlertRule.model_validate(rule).model_dump(mode="json", exclude_defaults=True) for rule in alerts]
    if notify := sections.get("notify"):
        read["notify"] = Notify.model_validate(notify).model_dump(mode="json", exclude_defaults=True)
    if react := sections.get("react"):
        rules = [Reaction.model_validate(rule) for rule in react]
        read["react"] = [rule.model_dump(mode="json", by_alias=True, exclude_defaults=True) for rule in rules]
    return read


def watching_of(row: Mapping[str, Any]) -> Watching:
    """The sections about watching that a row's spec carries under `deploy`; older rows have none."""
    held = row.get("deploy", {})
    rules = tuple(AlertRule.model_validate(rule) for rule in held.get("alerts", ()))
    react = tuple(Reaction.model_validate(rule) for rule in held.get("react", ()))
    return Watching(Monitor.model_validate(held.get("monitor", {})), rules, Notify.model_validate(held.get("notify", {})), react)


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
    return replace(route, protection=protection, guards=tuple(guards), price=price, capture=kept_text, metadata=monitor.metadata)
