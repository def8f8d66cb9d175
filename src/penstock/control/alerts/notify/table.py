"""The ways of telling by name: each row is a contract.py Way."""

from __future__ import annotations

from penstock.core.plugins import Row, Table

_HERE = "penstock.control.alerts.notify"
WAYS = Table(
    "notifier",
    {
        "slack": Row(f"{_HERE}.slack:SLACK"),
        "email": Row(f"{_HERE}.email:EMAIL"),
        "webhook": Row(f"{_HERE}.webhook:WEBHOOK"),
        "pagerduty": Row(f"{_HERE}.pagerduty:PAGERDUTY"),
        "alertmanager": Row(f"{_HERE}.alertmanager:ALERTMANAGER"),
    },
)
