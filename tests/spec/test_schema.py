"""The JSON Schema says what the loader says, as far as a schema can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from penstock.core.errors import FileProblems
from penstock.spec.load import loads
from penstock.spec.pipeline import Pipeline
from penstock.spec.schema import json_schema

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("examples/**/penstock.yaml"), *ROOT.glob("src/penstock/cli/templates/*/penstock.yaml")])
VALIDATOR = jsonschema.Draft202012Validator(json_schema())

BASE: dict[str, Any] = {
    "name": "a",
    "task": "text-classification",
    "data": {"sources": [{"dataset": "d"}]},
    "train": {"base": "minilm"},
}


def with_(**sections: Any) -> dict[str, Any]:
    return {**BASE, **sections}


GOOD = {
    "bare": BASE,
    "method": with_(train={"base": "m", "method": "full"}),
    "method map": with_(train={"base": "m", "method": {"lora": {"rank": 4}}}),
    "rules": with_(
        data={
            "sources": [{"dataset": "d"}],
            "clean": ["normalize", {"dedup": "exact"}, {"decontaminate": "test"}, {"length": {"minimum": 3}}],
        }
    ),
    "percent": with_(data={"sources": [{"dataset": "d"}], "split": {"validation": "5%"}}),
    "fraction": with_(data={"sources": [{"dataset": "d"}], "split": {"validation": 0.05}}),
    "duration": with_(options={"train": {"timeout": "30m", "resources": {"memory": "2 GiB"}}}),
    "seconds": with_(options={"train": {"timeout": 90, "resources": {"memory": 1024}}}),
    "optimize": with_(optimize=[{"quantize": "int8"}, "quantize", {"quantize": {"to": "int8"}}]),
    "one gate": with_(gates="accuracy >= 0.9"),
    "gates": with_(gates=["accuracy >= 0.9", "latency.p95_ms <= 20ms"]),
    "reference": with_(train={"base": "${env:A:-m}", "epochs": "${env:B:-3}"}),
    "platforms": with_(platforms={"laptop": {"kind": "local", "workers": 2}}),
    "guardrails": with_(
        deploy={
            "guardrails": [
                {"personal_data": "mask"},
                {"injection": {"action": "block", "on": "input", "threshold": 0.9}},
                "toxicity",
                {"words": {"words": ["secret sauce"], "action": "mask"}},
                {"personal_data": {"types": ["email", "card"], "action": "block"}},
            ]
        }
    ),
}
LIVE = {"deploy": {"strategy": "canary"}, "monitor": {"capture": True, "drift": [{"input": "words"}]}}
GOOD |= {
    "strategy": with_(deploy={"strategy": {"canary": ["5%", 0.25, "100%"], "hold": "2m"}, "rollback_when": "error_rate > 1%"}),
    "one action": with_(**LIVE, react=[{"when": "drift", "do": "retrain", "with": {"replay": "50%"}, "budget": "20 USD"}]),
    "actions": with_(**LIVE, react=[{"when": "drift", "do": ["alert", "scale_down"]}]),
    "receivers": with_(**LIVE, alerts=[{"when": "drift", "send": ["a"]}], notify={"receivers": {"a": {"slack": "${secret:S}"}}}),
    "email": with_(notify={"receivers": {"a": {"email": {"to": "a@example.org", "sender": "b@example.org"}}}}),
    "screens": with_(monitor={"capture": True, "screens": ["toxicity", {"check": "injection", "on": "input"}]}),
    "triggers": with_(triggers=[{"cron": "0 3 * * *", "timezone": "Europe/Berlin"}, {"data": "arrives"}]),
    "gpu": with_(options={"train": {"resources": {"gpu": {"type": "a100-80gb", "count": 8}, "nodes": 2}}}),
    "gpu alone": with_(options={"train": {"resources": {"gpu": "l4"}}}),
}
BAD = {
    "alerts need deploy": with_(alerts=[{"when": "error_rate > 1%"}]),
    "no such action": with_(**LIVE, react=[{"when": "drift", "do": "rolback"}]),
    "no such accelerator": with_(options={"train": {"resources": {"gpu": {"type": "a100"}}}}),
    "no name": {k: v for k, v in BASE.items() if k != "name"},
    "bad name": with_(name="A b"),
    "unknown key": with_(trian={}),
    "unknown inside": with_(train={"base": "m", "epoch": 3}),
    "wrong type": with_(train={"base": "m", "epochs": "lots"}),
    "out of range": with_(train={"base": "m", "label_smoothing": 2}),
    "two methods": with_(train={"base": "m", "method": {"full": {}, "lora": {}}}),
    "no method": with_(train={"base": "m", "method": "lorra"}),
    "bad rule": with_(data={"sources": [{"dataset": "d"}], "clean": ["normalise"]}),
    "bad percent": with_(data={"sources": [{"dataset": "d"}], "split": {"validation": "5 parts"}}),
    "bad duration": with_(options={"train": {"timeout": "3 moons"}}),
    "no source": with_(data={"sources": []}),
    "two places": with_(data={"sources": [{"dataset": "d", "uri": "u"}]}),
    "two guards in one": with_(deploy={"guardrails": [{"injection": "flag", "toxicity": "flag"}]}),
    "no such guard": with_(deploy={"guardrails": ["toxicty"]}),
    "a whole text is not masked": with_(deploy={"guardrails": [{"toxicity": "mask"}]}),
    "no such kind": with_(deploy={"guardrails": [{"personal_data": {"types": ["person"]}}]}),
    "nothing to do": {"name": "a"},
    "data without task": {"name": "a", "data": {"sources": [{"dataset": "d"}]}},
    "train without data": {"name": "a", "train": {"base": "m"}, "steps": [{"name": "s", "uses": "json:loads"}]},
}


def accepted(value: Any) -> bool:
    import io

    out = io.BytesIO()
    YAML(typ="safe", pure=True).dump(value, out)
    try:
        loads(out.getvalue(), file=Path("penstock.yaml"), environ={})
    except FileProblems:
        return False
    return True


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json_schema() == json_schema()


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.parent.name)
def test_every_example_and_template(file: Path) -> None:
    VALIDATOR.validate(YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8")))


def test_there_are_examples_and_templates() -> None:
    assert len(FILES) >= 5


@pytest.mark.parametrize("value", GOOD.values(), ids=GOOD)
def test_good(value: dict[str, Any]) -> None:
    assert [e.message for e in VALIDATOR.iter_errors(value)] == []
    assert accepted(value)


@pytest.mark.parametrize("value", BAD.values(), ids=BAD)
def test_bad(value: dict[str, Any]) -> None:
    assert list(VALIDATOR.iter_errors(value))
    assert not accepted(value)


def test_every_key_of_the_file_is_described() -> None:
    assert list(json_schema()["properties"]) == list(Pipeline.model_fields)


class Deploy(BaseModel):
    """Of the same name as the file's own."""

    somewhere: int


class Wider(Pipeline):
    beside: Deploy | None = None


def test_two_records_may_have_one_name() -> None:
    validator = jsonschema.Draft202012Validator(json_schema(Wider))
    deployed = with_(deploy={"to": "laptop", "rollback_when": "error_rate > 1%"})
    assert sum("Deploy" in name for name in json_schema(Wider)["$defs"]) == 2
    assert [e.message for e in validator.iter_errors({**deployed, "beside": {"somewhere": 1}})] == []
    assert list(validator.iter_errors({**deployed, "beside": {"to": "laptop"}}))
    assert list(validator.iter_errors(with_(deploy={"somewhere": 1})))
