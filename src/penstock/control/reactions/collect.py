"""New rows for retraining, from what was asked, answered and said: captured texts with the labels that people gave, as an artifact.

Texts are as captured, masked. Left out and counted: requests whose client or key does not want to be trained on, what was erased, copies,
texts without a label. Of equal texts the last word counts. A text's hash decides whether it trains or is held out, so one text is never in
both, and the same rows give the same artifact. Not covered: requests of several texts, conversations with tool calls.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from penstock.control.erasure import marked
from penstock.control.world import World
from penstock.serving.feedback import Feedback, read_feedback
from penstock.serving.joined import Joined, joined
from penstock.serving.record_files import read_records

Data = Literal["captured", "captured+feedback", "feedback"]
SURE = 0.9  # confidence from which an answer that nobody objected to is taken as a label
FEWEST = 3  # rows without which a label is no class: two to train on, one to ask about
KIND = "rows"


@dataclass(frozen=True, slots=True)
class NewRow:
    """`id`: of the request. `why`: label (said by a person), approved (a good score), sure (nobody objected)."""

    id: str
    text: str
    label: str | None
    why: str
    at: float


@dataclass(frozen=True, slots=True)
class Gathered:
    """`rows`: kept ones, in the order of their texts' hashes. `left_out`: how many for which reason."""

    rows: tuple[NewRow, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def labels(self) -> Mapping[str, int]:
        return Counter(row.label for row in self.rows if row.label is not None)


def gather(world: World, deployment: str, task: str, data: Data, since: float, until: float) -> Gathered:
    """What can be learnt from requests that arrived within [since, until), with all that was said of them by `until`."""
    folder = world.home.gateway
    records = (r for r in read_records(folder / "records", since, until) if r.get("model") == deployment)
    said = list(read_feedback(folder / "feedback", since, until))
    left_out: Counter[str] = Counter()
    return chosen(_offered(records, said), task, data, marked(world.store), left_out)


def _offered(records: Iterable[Mapping[str, Any]], said: list[Feedback]) -> Iterator[Joined]:
    """Every record once, with what was said of it, if anything."""
    rows = list(records)
    spoken = {one.record["id"]: one for one in joined(rows, said)}
    for record in rows:
        yield spoken.get(record["id"]) or Joined(record, (), None, None, None)


def chosen(offered: Iterable[Joined], task: str, data: Data, erased: set[str], left_out: Counter[str]) -> Gathered:
    """The rows to learn from. Pure."""
    by_text: dict[str, NewRow] = {}
    for one in offered:
        reason, row = _row(one, task, data, erased)
        if row is None:
            left_out[reason] += 1
            continue
        known = by_text.get(row.text)
        if known is not None:
            left_out["the same text again"] += 1
            if (row.why == "label") < (known.why == "label") or row.at < known.at:
                continue  # what a person said goes before what was guessed, the later before the earlier
        by_text[row.text] = row
    counts = Counter(row.label for row in by_text.values())
    kept = [row for row in by_text.values() if row.label is None or counts[row.label] >= FEWEST]
    if len(kept) < len(by_text):
        left_out["a label with too few rows"] += len(by_text) - len(kept)
    return Gathered(tuple(sorted(kept, key=lambda row: (_place(row.text), row.id))), dict(left_out))


def _row(one: Joined, task: str, data: Data, erased: set[str]) -> tuple[str, NewRow | None]:
    record = one.record
    if record.get("shadow_of") is not None or record.get("status") != 200:
        return "no answer to a client", None
    if record.get("training") is False:
        return "no consent", None
    speakers = {said.user for said in one.feedback}
    if erased & {record["id"], record.get("session"), record.get("key"), *speakers}:
        return "erased", None
    text = record.get("text_in")
    if not text:
        return "text not captured", None
    found = _label(one, data) if task == "text-classification" else _answer(one, data)
    if found is None:
        return "no label", None
    said, why = found
    at = max([record["ts"], *(said.ts for said in one.feedback)])
    if task == "text-classification":
        return "", NewRow(record["id"], text, said, why, at)
    return "", NewRow(record["id"], f"{text}{said}", None, why, at)


def _label(one: Joined, data: Data) -> tuple[str, str] | None:
    answered, confidence = one.record.get("label"), one.record.get("confidence") or 0.0
    if one.label is not None:
        return one.label, "label"
    if answered is None or data == "feedback":
        return None
    if one.score is not None:
        return (answered, "approved") if one.score > 0 else None
    return (answered, "sure") if data == "captured" and confidence >= SURE else None


def _answer(one: Joined, data: Data) -> tuple[str, str] | None:
    """What should have been written, or was and was liked."""
    if one.correction is not None:
        return one.correction, "label"
    written = one.record.get("text_out")
    if written is None or data == "feedback":
        return None
    if one.score is not None:
        return (written, "approved") if one.score > 0 else None
    return (written, "sure") if data == "captured" else None


def write(world: World, gathered: Gathered, holdout: float, about: Mapping[str, Any]) -> str:
    """The digest of an artifact with `train.parquet`, `test.parquet` (columns id, text, label) and `about.json`."""
    import polars as pl

    trains, tests = parted(gathered.rows, holdout)
    folder = Path(tempfile.mkdtemp(prefix="rows-", dir=_scratch(world)))
    try:
        for name, rows in (("train", trains), ("test", tests)):
            columns = {"id": [r.id for r in rows], "text": [r.text for r in rows], "label": [r.label for r in rows]}
            frame = pl.DataFrame(columns, schema={"id": pl.String, "text": pl.String, "label": pl.String})
            frame.write_parquet(folder / f"{name}.parquet", compression="zstd", statistics=False)
        facts = {**about, "rows": {"train": len(trains), "test": len(tests)}, "labels": dict(sorted(gathered.labels.items()))}
        facts["why"] = dict(Counter(row.why for row in gathered.rows))
        facts["left_out"] = dict(sorted(gathered.left_out.items()))
        (folder / "about.json").write_bytes(json.dumps(facts, sort_keys=True, ensure_ascii=False, indent=1).encode())
        return world.store.artifacts.commit(folder, KIND, {"rows": len(gathered.rows)}).digest
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def parted(rows: Iterable[NewRow], holdout: float) -> tuple[list[NewRow], list[NewRow]]:
    """(those to train on, those to ask about): by label, by the hash of the text; every label trains on two rows at least."""
    trains: list[NewRow] = []
    tests: list[NewRow] = []
    by_label: dict[str | None, list[NewRow]] = {}
    for row in sorted(rows, key=lambda row: (_place(row.text), row.id)):
        by_label.setdefault(row.label, []).append(row)
    for label in sorted(by_label, key=lambda name: name or ""):
        mine = by_label[label]
        held = min(max(round(len(mine) * holdout), 1), max(len(mine) - 2, 0))
        tests += mine[:held]
        trains += mine[held:]
    return trains, tests


def _scratch(world: World) -> Path:
    folder = world.home.folder / "scratch"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _place(text: str) -> bytes:
    return blake2b(text.casefold().encode(), digest_size=8).digest()
