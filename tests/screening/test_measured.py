"""What the documentation says of the checks holds on the shared suites, with a little room; rows are never printed."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pytest

from penstock.screening.injection import Injection
from penstock.screening.linear import load
from penstock.screening.personal import find
from penstock.screening.toxicity import Toxicity


def column(path: Path, name: str, **where: str) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row[name] for row in csv.DictReader(file) if all(row[key] == value for key, value in where.items())]


def share(hits: list[bool]) -> float:
    return sum(hits) / len(hits)


LEAST = {
    "email": ("EMAIL_ADDRESS", 1.0),
    "phone": ("PHONE_NUMBER", 0.95),
    "card": ("CREDIT_CARD", 0.98),
    "iban": ("IBAN_CODE", 1.0),
    "ssn": ("US_SSN", 1.0),
    "ip": ("IP_ADDRESS", 1.0),
    "url": ("DOMAIN_NAME", 1.0),
    "date": ("DATE_TIME", 0.6),
}


@pytest.mark.parametrize("kind", LEAST)
def test_personal_data_of_unseen_templates(mirror: Path, kind: str) -> None:
    label, least = LEAST[kind]
    rows = [row for row in json.loads((mirror / "presidio_pii" / "synth_dataset_v2.json").read_text()) if row["template_id"] % 2]
    hit = wrong = 0
    for row in rows:
        right = {(s["start_position"], s["end_position"]) for s in row["spans"] if s["entity_type"] == label}
        found = {(f.start, f.end) for f in find(row["full_text"]) if f.kind == kind}
        hit, wrong = hit + len(right & found), wrong + len(right ^ found)
    assert 2 * hit / (2 * hit + wrong) >= least


def test_attacks_are_found_and_ordinary_texts_are_left_alone(mirror: Path) -> None:
    check = Injection()
    attacks = column(mirror / "giskard_prompt_injections" / "prompt_injections.csv", "prompt")
    assert share([bool(check.find(text)) for text in attacks]) >= 0.97
    safe = column(mirror / "xstest" / "xstest_prompts.csv", "prompt", label="safe")
    assert share([bool(check.find(text)) for text in safe]) <= 0.004
    assert share([bool(check.find(text)) for text in column(mirror / "banking77" / "test.csv", "text")]) <= 0.002


def test_toxicity_of_held_out_tweets(mirror: Path) -> None:
    check = Toxicity()
    path = mirror / "davidson_hate_offensive" / "labeled_data.csv"
    groups = [[text for text in set(column(path, "tweet", **{"class": label})) if _held_out(text)] for label in ("0", "1", "2")]
    hate, offensive, neither = (share([bool(check.find(text)) for text in texts]) for texts in groups)
    assert offensive >= 0.92
    assert hate >= 0.8
    assert neither <= 0.07
    safe = column(mirror / "xstest" / "xstest_prompts.csv", "prompt", label="safe")
    assert share([bool(check.find(text)) for text in safe]) <= 0.012


@pytest.mark.parametrize("term", ["gay", "muslim", "black", "trans", "jewish", "lesbian", "blind", "mexican"])
def test_naming_a_group_is_no_insult(mirror: Path, term: str) -> None:
    check = Toxicity()
    texts = column(mirror / "bias_madlibs" / "bias_madlibs_77k.csv", "Text", Label="NOT_BAD")
    assert share([bool(check.find(text)) for text in texts if f" {term}" in text.lower()]) <= 0.03


@pytest.mark.parametrize("name", ["injection", "toxicity"])
def test_weights_say_where_they_come_from(name: str) -> None:
    about = load(name).about
    assert about["trained_on"]
    assert "Apache-2.0" in about["licence"]


def _held_out(text: str) -> bool:
    return hashlib.sha256(text.encode()).hexdigest()[-1] in "0123"
