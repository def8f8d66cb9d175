"""The methods by name; each row is a contract.py Method."""

from __future__ import annotations

from penstock.core.plugins import Row, Table

_HERE = "penstock.monitoring.anomalies"
METHODS = Table(
    "anomaly",
    {
        "static": Row(f"{_HERE}.static:STATIC", "monitor"),
        "seasonal": Row(f"{_HERE}.seasonal:SEASONAL", "monitor"),
        "change_point": Row(f"{_HERE}.change_point:CHANGE_POINT", "monitor"),
        "isolation_forest": Row(f"{_HERE}.isolation_forest:ISOLATION_FOREST", "monitor"),
    },
)
