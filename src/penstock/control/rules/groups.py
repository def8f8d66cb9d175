"""A file of Prometheus rules for one deployment: recording rules of its rates, alerts of the file, and alerts about Penstock itself."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.control.measures import signals
from penstock.control.measures.promql import Scope, duration, query, selector
from penstock.control.measures.signals import COUNTED, measured
from penstock.control.rules import expressions
from penstock.control.rules.expressions import Inexpressible, alert, recorded, rollback
from penstock.monitoring.alerting.rules import rules_of
from penstock.spec.react import AlertRule
from penstock.spec.watches import parse_watch

SCRAPES = 4  # in what rates are taken over, at least: one that fails then costs nothing
LEAST = 30  # requests of a version in that time, without which nothing is said of it
STALE_S = 120  # without new signals
LIMIT_RATIO = "model_version_signal:penstock_signal:limit_ratio"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the file says of one deployment. `scrape_s`: how often Prometheus reads the gateway."""

    name: str
    window_s: float
    alerts: Sequence[AlertRule] = ()
    rollback_when: Sequence[str] = ()
    scrape_s: float = 15.0

    @property
    def over_s(self) -> float:
        """What rates are taken over."""
        return max(self.window_s, SCRAPES * self.scrape_s)

    @property
    def scope(self) -> Scope:
        return Scope(self.name, duration(self.over_s))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """`where`: the key of the file."""

    where: str
    text: str
    why: str


@dataclass(frozen=True, slots=True)
class Rules:
    """`document`: the value of a rule file."""

    document: Mapping[str, Any]
    left_out: Sequence[LeftOut] = ()

    def as_yaml(self) -> str:
        """With what is left out, and why, in comments at its head."""
        from ruamel.yaml import YAML

        writer, text = YAML(), io.StringIO()
        writer.width, writer.default_flow_style = 1 << 16, False
        writer.dump(self.document, text)
        notes = [f"# Not among them: {one.where}: {one.text!r}: it {one.why}.\n" for one in self.left_out]
        return f"# Written by `penstock export rules`; write it anew when the pipeline file changes.\n{''.join(notes)}{text.getvalue()}"


def rules_file(wish: Wish) -> Rules:
    """Alerts that Prometheus can judge; those that it cannot are in `left_out`."""
    left_out: list[LeftOut] = []
    return Rules({"groups": [own_group(wish, left_out), ABOUT]}, left_out)


def own_group(wish: Wish, left_out: list[LeftOut]) -> dict[str, Any]:
    """Of the deployment; what Prometheus cannot judge is added to `left_out`."""
    own = [*_recordings(wish), *_alerts(wish, left_out), *_rollbacks(wish, left_out)]
    return {"name": f"penstock-{wish.name}", "interval": duration(wish.scrape_s), "rules": own}


def _recordings(wish: Wish) -> Iterator[dict[str, Any]]:
    for signal in COUNTED:
        for by_version in (False, True):
            expression = query(measured(signal, by_version=by_version), wish.scope)
            yield {"record": recorded(signal, by_version=by_version), "expr": expression, "labels": {"model": wish.name}}
    for name, measure in ((expressions.BLAMED, signals.BLAMED), (expressions.DRAWN, signals.DRAWN)):
        yield {"record": name, "expr": query(measure, wish.scope), "labels": {"model": wish.name}}
    value, limit = (selector(name, {}, wish.name) for name in ("penstock_signal", "penstock_signal_limit"))
    yield {"record": LIMIT_RATIO, "expr": f"{value} / ({limit} > 0)"}


def _alerts(wish: Wish, left_out: list[LeftOut]) -> Iterator[dict[str, Any]]:
    for number, rule in enumerate(rules_of(wish.alerts, wish.window_s)):
        try:
            expression = alert(rule.watch, wish.scope)
        except Inexpressible as error:
            left_out.append(LeftOut(f"alerts.{number}", rule.watch.text, str(error)))
            continue
        yield {
            "alert": rule.key,
            "expr": expression,
            "for": duration(rule.watch.for_s),
            "keep_firing_for": duration(rule.clear_after_s),
            "labels": {"deployment": wish.name, "severity": rule.severity, "source": "prometheus"},
            "annotations": _annotations(wish.name, rule.watch.text),
        }


def _rollbacks(wish: Wish, left_out: list[LeftOut]) -> Iterator[dict[str, Any]]:
    for number, text in enumerate(wish.rollback_when):
        for leaf in parse_watch(text).leaves:
            try:
                expression = rollback(leaf, wish.scope, LEAST / wish.over_s)
            except Inexpressible as error:
                left_out.append(LeftOut(f"deploy.rollback_when.{number}", text, str(error)))
                continue
            yield {
                "alert": f"rollback: {text}",
                "expr": expression,
                "labels": {"deployment": wish.name, "severity": "critical", "source": "prometheus"},
                "annotations": _annotations(wish.name, f"version {{{{ $labels.version }}}}: {text}"),
            }


def _annotations(name: str, said: str) -> dict[str, str]:
    return {
        "summary": f'{name}: {said} (now {{{{ printf "%.3g" $value }}}})',
        "description": f"penstock monitor {name}; penstock explain {name}",
    }


def _about(name: str, expression: str, wait: str, summary: str, remedy: str, severity: str = "critical") -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expression,
        "for": wait,
        "labels": {"severity": severity, "source": "prometheus"},
        "annotations": {"summary": summary, "description": remedy},
    }


_SELF = [
    _about("PenstockGone", "absent(penstock_snapshot_version)", "1m", "No gateway is seen", "penstock status; penstock up"),
    _about(
        "PenstockNotMeasuring",
        f"time() - penstock_signals_written_timestamp_seconds > {STALE_S}",
        "1m",
        "No signals are measured: alerts on drift, accuracy, latency and cost are blind",
        "penstock status says what keeps the watcher",
    ),
    _about(
        "PenstockRecordsLost",
        "increase(penstock_records_dropped_total[5m]) > 0",
        "0s",
        "Request records are lost",
        "Make room on the disk that holds the gateway's records",
        "warning",
    ),
]
ABOUT: dict[str, Any] = {"name": "penstock", "rules": _SELF}  # Penstock itself, whatever the deployment
