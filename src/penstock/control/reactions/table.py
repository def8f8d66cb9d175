"""The actions by name; each row is a contract.py Action."""

from __future__ import annotations

from penstock.core.plugins import Row, Table

_HERE = "penstock.control.reactions.actions"
ACTIONS = Table(
    "action",
    {
        "retrain": Row(f"{_HERE}.retrain:Retrain"),
        "rollback": Row(f"{_HERE}.rollback:Rollback"),
        "scale_up": Row(f"{_HERE}.scale:ScaleUp"),
        "scale_down": Row(f"{_HERE}.scale:ScaleDown"),
        "stop": Row(f"{_HERE}.stop:Stop"),
        "shift": Row(f"{_HERE}.shift:Shift"),
        "ask": Row(f"{_HERE}.ask:Ask"),
        "alert": Row(f"{_HERE}.alert:Alert"),
        "run": Row(f"{_HERE}.run:Run"),
    },
)
