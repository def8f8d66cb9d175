"""The kinds of sketches and the detectors by name, and which detectors stand behind each signal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.core.errors import ArtifactCorrupt, BadInput
from penstock.core.plugins import Row, Table
from penstock.monitoring.drift.contract import Detector, Sketch
from penstock.monitoring.drift.encoded import unpack

_HERE = "penstock.monitoring.drift"
SKETCHES = Table(
    "sketch",
    {
        "numbers": Row(f"{_HERE}.numbers:Numbers"),
        "counts": Row(f"{_HERE}.counts:Counts"),
        "words": Row(f"{_HERE}.words:Words"),
        "mean_map": Row(f"{_HERE}.mean_map:MeanMap"),
        "nearest": Row(f"{_HERE}.nearest:Nearest"),
        "sample": Row(f"{_HERE}.sample:Sample"),
    },
)
DETECTORS = Table(
    "drift detector",
    {
        "ks": Row(f"{_HERE}.ks:KolmogorovSmirnov"),
        "wasserstein": Row(f"{_HERE}.wasserstein:Wasserstein"),
        "psi": Row(f"{_HERE}.psi:PopulationStability"),
        "jensen_shannon": Row(f"{_HERE}.jensen_shannon:JensenShannon"),
        "chi_square": Row(f"{_HERE}.chi_square:ChiSquare"),
        "unseen": Row(f"{_HERE}.unseen:Unseen"),
        "mmd": Row(f"{_HERE}.mmd:MeanDiscrepancy"),
        "novelty": Row(f"{_HERE}.novelty:Novelty"),
        "classifier": Row(f"{_HERE}.classifier:ClassifierTest"),
        "rise": Row(f"{_HERE}.rise:Rise"),
    },
)
# (detector, kind of sketch) behind each signal; where there are two, each finds what the other misses (docs/explanation/drift.md).
BEHIND: Mapping[str, tuple[tuple[str, str], ...]] = {
    "drift.words": (("jensen_shannon", "words"), ("unseen", "words")),
    "drift.embedding": (("mmd", "mean_map"), ("novelty", "nearest")),
    "drift.length": (("ks", "numbers"),),
    "drift.language": (("jensen_shannon", "counts"),),
    "drift.output.labels": (("jensen_shannon", "counts"),),
    "drift.output.confidence": (("wasserstein", "numbers"),),
    "drift.output.length": (("ks", "numbers"),),
    "drift.feedback.labels": (("jensen_shannon", "counts"),),
    "drift.feedback.errors": (("rise", "counts"),),
}
OF_NUMBERS, OF_CATEGORIES = (("ks", "numbers"),), (("jensen_shannon", "counts"),)  # metadata, as its values are


def behind(signal: str, numeric: bool = False) -> tuple[tuple[str, str], ...]:
    """(detector, kind of sketch) each. `numeric`: of a field of metadata, whether it holds numbers."""
    return BEHIND.get(signal) or (OF_NUMBERS if numeric else OF_CATEGORIES)


def detector(name: str) -> Detector[Any]:
    """Raises BadInput for a name that is not there."""
    made: Detector[Any] = DETECTORS.load(name)()
    return made


def decode(data: bytes) -> Sketch:
    """The sketch that these bytes are. Raises ArtifactCorrupt."""
    packed = unpack(data)
    try:
        kind = SKETCHES.load(packed.kind)
    except BadInput as error:
        raise ArtifactCorrupt(f"these bytes are a sketch of a kind that is not known here ({packed.kind[:40]!r})") from error
    found: Sketch = kind.decode(packed)
    return found
