"""What the pages about alerts show is as it is there."""

from __future__ import annotations

import re
from pathlib import Path

from penstock.control.alerts.notify.table import WAYS
from penstock.control.policy import kept, watching_of
from penstock.monitoring.alerting.rules import rules_of
from penstock.monitoring.anomalies.table import METHODS
from penstock.monitoring.causes.outcomes import known
from penstock.spec.load import loads
from penstock.spec.monitor import Anomaly
from penstock.spec.pipeline import dump

DOCS = Path(__file__).parents[3] / "docs"
BASE = """
name: support
task: text-classification
data: {sources: [{dataset: banking77/train, text: text, label: category}]}
train: {base: minilm}
"""


def test_the_file_of_the_page_loads_and_reaches_the_monitor() -> None:
    text = (DOCS / "how-to" / "alert.md").read_text()
    shown = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert shown is not None
    pipeline = dump(loads((BASE + shown[1]).encode(), file=Path("penstock.yaml"), environ={}).pipeline)
    held = kept({**pipeline["deploy"], **{section: pipeline.get(section) for section in ("monitor", "alerts", "notify")}})
    watching = watching_of({"deploy": held})
    assert rules_of(watching.alerts, 60.0)[0].key == "errors"
    assert set(watching.notify.receivers) == {"team", "night", "ops"}
    assert all(f"`{way}`" in text for way in WAYS.names())


def test_methods_and_signals_are_named() -> None:
    page = (DOCS / "explanation" / "alerts.md").read_text()
    assert all(f"| `{name}` |" in page for name in METHODS.names())
    assert set(METHODS.names()) == set(Anomaly.model_fields["method"].annotation.__args__)  # type: ignore[union-attr]
    causes = (DOCS / "how-to" / "find-the-cause.md").read_text()
    assert all(f"`{name}`" in causes for name in known() if "_ms" not in name)
