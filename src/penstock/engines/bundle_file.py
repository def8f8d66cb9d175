"""bundle.json: what a bundle says of itself, and the check that its files are the ones it names.

Not covered: who signed it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from penstock.core.digests import canonical, digest_file, files_under, hex_of
from penstock.core.errors import ArtifactCorrupt, ArtifactMissing, BadInput

NAME = "bundle.json"
SCHEMA = 1
# Formats that can only hold data. A `.bin` counts when an OpenVINO graph of the same name lies beside it (PyTorch's .bin is a pickle).
DATA_SUFFIXES = frozenset({".json", ".xml", ".safetensors", ".txt", ".md", ".jinja"})


@dataclass(frozen=True, slots=True)
class BundleFile:
    """`files` maps POSIX paths to digests and names every file of the bundle but bundle.json; `made_from` maps input to digest."""

    name: str
    task: str
    engine: str
    precision: str
    max_length: int  # tokens
    labels: tuple[str, ...]
    files: Mapping[str, str]
    made_from: Mapping[str, str]
    schema: int = SCHEMA

    def data(self) -> bytes:
        return canonical(asdict(self)) + b"\n"


def read_bundle(folder: Path) -> BundleFile:
    """The parsed bundle.json of `folder`. Raises ArtifactMissing, ArtifactCorrupt, or BadInput for a schema this Penstock does not know."""
    path = folder / NAME
    if not path.is_file():
        raise ArtifactMissing(f"{folder} holds no {NAME}, so it is not a bundle", remedy="Give the folder that the bundle stage wrote.")
    try:
        value: dict[str, Any] = json.loads(path.read_bytes())
        if value["schema"] != SCHEMA:
            raise BadInput(
                f"{path} has schema {value['schema']!r}; this Penstock reads {SCHEMA}", remedy="Use a Penstock as new as the bundle."
            )
        bundle = BundleFile(**{**value, "labels": tuple(value["labels"]), "max_length": int(value["max_length"])})
        for digest in bundle.files.values():
            hex_of(digest)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactCorrupt(f"{path} does not read as a bundle's description ({error})") from error
    return bundle


def is_data(path: Path) -> bool:
    """Whether a file of this name can be loaded without running code that it carries."""
    return path.suffix in DATA_SUFFIXES or (path.suffix == ".bin" and path.with_suffix(".xml").is_file())


def refuse_code(folder: Path) -> None:
    """Raises BadInput naming the first file below `folder` whose format may carry code, such as a pickle."""
    for path in files_under(folder):
        if not is_data(path):
            raise BadInput(
                f"{path.relative_to(folder).as_posix()} is not a file type that a bundle may hold",
                remedy=f"Only {', '.join(sorted(DATA_SUFFIXES))} and OpenVINO weights (.bin beside their .xml) are loaded, never pickles.",
            )


def verify_bundle(folder: Path, bundle: BundleFile) -> None:
    """Raises ArtifactCorrupt when a file is missing, added or changed, BadInput when one may carry code."""
    verify_files(folder, bundle.files, NAME, frozenset({NAME}))


def verify_files(folder: Path, files: Mapping[str, str], named_by: str, beside: frozenset[str] = frozenset()) -> None:
    """Holds `folder` to `files` (POSIX path → digest), which `named_by` lists; those `beside` it may lie there too. As verify_bundle."""
    refuse_code(folder)
    found = {path.relative_to(folder).as_posix() for path in files_under(folder)} - beside
    for extra in sorted(found - set(files)):
        raise ArtifactCorrupt(f"{extra} lies in {folder} but {named_by} does not name it")
    for path, digest in sorted(files.items()):
        if path not in found:
            raise ArtifactCorrupt(f"{path}, named by {named_by}, is missing from {folder}")
        if (seen := digest_file(folder / path)) != digest:
            raise ArtifactCorrupt(f"{folder / path} has digest {seen}, but {named_by} says {digest}")
