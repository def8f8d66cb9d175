"""`penstock openapi` prints the documents that gateway and replica serve."""

from __future__ import annotations

import json

import pytest
from openapi_spec_validator import validate

from penstock.cli.main import main


@pytest.mark.parametrize(("options", "own"), [([], "/v1/feedback"), (["--replica"], "/v1/load_lora_adapter")])
def test_the_document_is_printed_plain_and_as_json(options: list[str], own: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["openapi", *options]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert main(["openapi", *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == plain
    validate(plain)
    assert own in plain["paths"]
