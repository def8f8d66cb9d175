"""The kinds of measures by name; each row is a contract.py Maker."""

from __future__ import annotations

from penstock.core.plugins import Row, Table

MEASURES = Table(
    "measure",
    {
        "kpis": Row("penstock.control.watch.kpis:make", "monitor"),
        "screens": Row("penstock.control.watch.screens:make"),
        "judge": Row("penstock.control.watch.judge:make"),
        "labelling": Row("penstock.control.watch.labelling:make"),
        "drift": Row("penstock.control.watch.drift.measure:make", "monitor"),
        "anomalies": Row("penstock.control.watch.anomalies:make", "monitor"),
    },
)
