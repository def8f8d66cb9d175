"""What the section `deploy.guardrails` refuses, beyond what a JSON Schema can say."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from penstock.screening.personal.table import KINDS
from penstock.screening.table import CHECKS
from penstock.spec.deploy import Guardrail, PersonalKind


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"injection": "mask"}, "cannot be masked"),
        ({"words": "block"}, "needs its words"),
        ("words", "needs its words"),
        ({"toxicity": {"words": ["x"]}}, "only it has them"),
        ({"toxicity": {"types": ["email"]}}, "`types` are kinds of personal data"),
        ({"personal_data": {"threshold": 0.4}}, "no `threshold`"),
        ({"words": {"words": ["ok", " "]}}, "1–128 characters"),
        ({"words": {"words": ["x" * 129]}}, "1–128 characters"),
        ({}, "exactly one check"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(value: Any, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Guardrail.model_validate(value)


def test_a_check_alone_flags_both_sides() -> None:
    rail = Guardrail.model_validate("toxicity").toxicity
    assert rail is not None
    assert (rail.action, rail.on, rail.threshold) == ("flag", "both", None)


def test_the_file_knows_the_checks_and_kinds_that_there_are() -> None:
    assert set(get_args(PersonalKind)) == set(KINDS.rows)
    assert set(Guardrail.model_fields) == set(CHECKS.rows)
