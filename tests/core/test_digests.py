"""Digests follow from content alone: not from order, time, mode or process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.digests import canonical, digest_bytes, digest_file, digest_folder, digest_json, files_under, hex_of

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=10,
)


@given(JSON)
@settings(deadline=None)
def test_canonical_json_reads_back(value: object) -> None:
    import json

    assert json.loads(canonical(value)) == value


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers()))
def test_order_of_keys_does_not_count(value: dict[str, int]) -> None:
    assert digest_json(value) == digest_json(dict(reversed(value.items())))


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError):
        canonical(float("nan"))


def test_equal_in_another_process() -> None:
    code = "from penstock.core.digests import digest_json; print(digest_json({'b': [1, 0.1, 'é'], 'a': None}))"
    environ = {**os.environ, "PYTHONHASHSEED": "7"}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ).stdout.strip()
    assert told == digest_json({"a": None, "b": [1, 0.1, "é"]})


def test_a_known_digest() -> None:
    assert digest_bytes(b"abc") == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_folders(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, names in ((one, ["b", "a/c"]), (two, ["a/c", "b"])):
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
    (two / "empty").mkdir()
    os.utime(two / "b", (1, 1))
    assert digest_folder(one) == digest_folder(two)
    assert [p.name for p in files_under(one)] == ["c", "b"]
    (two / "b").rename(two / "d")
    assert digest_folder(one) != digest_folder(two)
    assert digest_file(one / "b") == digest_bytes(b"b")


@pytest.mark.parametrize("text", ["", "sha256:", "sha256:" + "g" * 64, "md5:" + "a" * 64, "a" * 64, "sha256:" + "A" * 64])
def test_what_is_no_digest(text: str) -> None:
    with pytest.raises(ValueError, match="not a digest"):
        hex_of(text)
