"""One file, many places: on every emulated platform the same pipeline trains, deploys, answers, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.testing.emulators.table import EMULATORS
from penstock.testing.everywhere import check

pytestmark = [pytest.mark.models, pytest.mark.timeout(900)]


@pytest.mark.parametrize("kind", EMULATORS.names())
def test_the_same_file_trains_deploys_answers_and_leaves_nothing(kind: str, tmp_path: Path) -> None:
    seen = check(kind, tmp_path)
    assert seen.good, seen
    assert seen.jobs == "5/5 succeeded"
