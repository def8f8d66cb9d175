"""Rules as the file's `alerts` declares them, with every default filled in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.spec.react import AlertRule, Severity
from penstock.spec.watches import Watch, parse_watch

RANK = {"info": 0, "warning": 1, "critical": 2}


@dataclass(frozen=True, slots=True)
class Rule:
    """`key` names it within its deployment: its name, or what it says. `send` empty: every receiver."""

    key: str
    watch: Watch
    severity: Severity = "warning"
    clear_after_s: float = 60.0
    send: tuple[str, ...] = ()
    repeat_s: float = 4 * 3600.0


def rules_of(alerts: Sequence[AlertRule], window_s: float) -> list[Rule]:
    """In the order of the file. Of two that would have one key the second gets a number."""
    found: dict[str, Rule] = {}
    for alert in alerts:
        watch = parse_watch(alert.when)
        clear = alert.clear_after if alert.clear_after is not None else max(watch.for_s, window_s)
        key, number = alert.name or watch.text, 2
        while key in found:
            key, number = f"{alert.name or watch.text} #{number}", number + 1
        found[key] = Rule(key, watch, alert.severity, clear, alert.send, alert.repeat)
    return list(found.values())
