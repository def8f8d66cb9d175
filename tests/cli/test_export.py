"""`penstock export`: rules of a file and of a deployment, dashboards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from penstock.store.store import Store
from penstock.testing.watched import deployment

FILE = """\
name: intents
task: text-classification
data: {sources: [{uri: train.csv, text: text, label: category}]}
train: {base: minilm, method: {lora: {rank: 8}}, epochs: 1}
deploy: {to: laptop, name: desk, strategy: {canary: [5%, 100%], hold: 2m}, rollback_when: ["worse_than(champion, error_rate, margin=1%)"]}
alerts: [{when: error_rate > 2% for 5m, name: errors}]
"""


@pytest.fixture
def file(folder: Path) -> Path:
    (folder / "train.csv").write_text("text,category\na,b\n")
    (folder / "penstock.yaml").write_text(FILE)
    return folder / "penstock.yaml"


@pytest.mark.usefixtures("file")
def test_rules_of_a_file(call, folder: Path) -> None:
    told = call("export", "rules", "penstock.yaml")
    read = YAML(typ="safe").load(told.out)
    assert [group["name"] for group in read["groups"]] == ["penstock-desk", "penstock"]
    assert told.out.splitlines()[1].startswith("# Not among them: deploy.rollback_when.0")
    assert told.err.startswith("left out: deploy.rollback_when.0: 'worse_than(")
    assert call("export", "rules", "penstock.yaml", "--out", "rules.yml").out == "written to rules.yml\n"
    assert (folder / "rules.yml").read_text() == told.out
    found = call("export", "rules", "penstock.yaml", "--scrape", "30s", "--json").json
    assert found["rules"]["groups"][0]["interval"] == "30s"
    assert [one["where"] for one in found["left_out"]] == ["deploy.rollback_when.0"]
    assert "[2m]" in json.dumps(found["rules"])


def test_rules_of_a_deployment(call, store: Store) -> None:
    row = deployment(store, "desk")
    alerts = [{"when": "drift.words for 10m", "severity": "critical"}]
    store.resources.set_spec("deployment", row.id, {**row.spec, "deploy": {"monitor": {"window": 300}, "alerts": alerts}})
    (own, _) = call("export", "rules", "desk", "--json").json["rules"]["groups"]
    assert [rule["alert"] for rule in own["rules"] if "alert" in rule] == ["drift.words for 10m"]
    assert "[5m]" in json.dumps(own)


@pytest.mark.usefixtures("store")
def test_what_is_wrong_is_said(call, folder: Path) -> None:
    assert "no deployment is called 'nobody'" in call("export", "rules", "nobody", "--json").error["message"]
    assert call("export", "rules", "none.yaml").code == 2
    assert "--scrape: " in call("export", "rules", "x", "--scrape", "soon", "--json").error["message"]
    assert "less than a millisecond" in call("export", "rules", "x", "--scrape", "0s", "--json").error["message"]
    (folder / "idle.yaml").write_text(FILE.split("deploy:")[0])
    (folder / "train.csv").write_text("text,category\na,b\n")
    error = call("export", "rules", "idle.yaml", "--json").error
    assert error["message"] == "idle.yaml deploys nothing, so there is nothing to watch"


def test_dashboards(call, folder: Path) -> None:
    told = call("export", "dashboards", "boards", "--json").json
    assert told == {"system": "grafana", "files": ["boards/penstock-deployment.json", "boards/penstock-signals.json"]}
    assert json.loads((folder / told["files"][0]).read_text())["uid"] == "penstock-deployment"
    assert call("export", "dashboards").out.splitlines()[1] == "written to dashboards/penstock-signals.json"
    assert "no dashboard is called 'kibana'" in call("export", "dashboards", "--for", "kibana", "--json").error["message"]
