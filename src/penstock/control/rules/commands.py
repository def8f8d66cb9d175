"""The rules of a deployment that there is, or of one that a pipeline file asks for. Used by the commands."""

from __future__ import annotations

from pathlib import Path

from penstock.control.policy import deploy_of, watching_of
from penstock.control.rules.groups import Rules, Wish, rules_file
from penstock.control.watch.board import watched_row
from penstock.core.errors import BadInput
from penstock.spec.load import load
from penstock.spec.monitor import Monitor
from penstock.store.store import Store


def rules_of_file(path: Path, scrape_s: float) -> Rules:
    """Raises FileProblems, BadInput."""
    pipeline = load(path).pipeline
    if pipeline.deploy is None:
        raise BadInput(f"{path} deploys nothing, so there is nothing to watch", remedy="Add `deploy`, or name a deployment.")
    window = (pipeline.monitor or Monitor()).window
    name = pipeline.deploy.name or pipeline.name
    return rules_file(Wish(name, window, pipeline.alerts, pipeline.deploy.rollback_when, scrape_s))


def rules_of_deployment(store: Store, name: str, scrape_s: float) -> Rules:
    """Raises NotFound."""
    row = watched_row(store, name)
    watching = watching_of(row.spec)
    return rules_file(Wish(row.name, watching.monitor.window, watching.alerts, deploy_of(row.spec).rollback_when, scrape_s))
