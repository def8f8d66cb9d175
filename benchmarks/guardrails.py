"""What guardrails find, what they get wrong, and what they cost; personal data beside Presidio's patterns in one run.

Rows of the data sets are never printed. Held-out only: see tools/screening_models.py. CPU time of one thread.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from peer import environment
from penstock.screening.injection import Injection, by_rules
from penstock.screening.personal import PersonalData
from penstock.screening.toxicity import Toxicity
from penstock.screening.words import Words
from penstock.serving.guardrails import Guards
from penstock.serving.snapshot import Guard

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
KINDS = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "card",
    "IBAN_CODE": "iban",
    "US_SSN": "ssn",
    "IP_ADDRESS": "ip",
    "DOMAIN_NAME": "url",
    "URL": "url",
    "DATE_TIME": "date",
    "AGE": "age",
    "ZIP_CODE": "postcode",
    "STREET_ADDRESS": "address",
    "US_DRIVER_LICENSE": "document",
    "CRYPTO": "crypto",
}
SHARED = ("email", "phone", "card", "iban", "ssn", "ip", "url", "date", "crypto")  # what Presidio's patterns cover
PRESIDIO = """
import json, sys, time
import spacy
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
from presidio_analyzer.nlp_engine import SpacyNlpEngine
from presidio_analyzer.predefined_recognizers import (CreditCardRecognizer, CryptoRecognizer, DateRecognizer, EmailRecognizer,
    IbanRecognizer, IpRecognizer, PhoneRecognizer, UrlRecognizer, UsSsnRecognizer)

class Blank(SpacyNlpEngine):
    def __init__(self):
        super().__init__()
        self.nlp = {"en": spacy.blank("en")}
    def is_loaded(self):
        return True

kinds = (CreditCardRecognizer, CryptoRecognizer, DateRecognizer, EmailRecognizer, IbanRecognizer, IpRecognizer, PhoneRecognizer,
    UrlRecognizer, UsSsnRecognizer)
registry = RecognizerRegistry(recognizers=[kind() for kind in kinds], supported_languages=["en"])
analyzer = AnalyzerEngine(registry=registry, nlp_engine=Blank(), supported_languages=["en"])
texts = json.load(open(sys.argv[1]))
for text in texts[:50]:
    analyzer.analyze(text, language="en")
start = time.process_time()
found = [analyzer.analyze(text, language="en") for text in texts]
seconds = time.process_time() - start
rows = []
for results in found:  # where findings overlap, the surer and then the longer one stays, as Presidio's anonymizer has it
    kept = []
    for r in sorted(results, key=lambda r: (-r.score, r.start - r.end)):
        if all(r.end <= k[1] or r.start >= k[2] for k in kept):
            kept.append((r.entity_type, r.start, r.end))
    rows.append(kept)
json.dump({"seconds": seconds, "rows": rows}, sys.stdout)
"""
Spans = set[tuple[str, int, int]]


def f1(found: Sequence[Spans], right: Sequence[Spans]) -> dict[str, tuple[float, float, float, int]]:
    """Strict (precision, recall, F1, labelled) by kind: a finding counts when kind and both ends agree."""
    hit, extra, missed = Counter[str](), Counter[str](), Counter[str]()
    for mine, truth in zip(found, right, strict=True):
        hit.update(kind for kind, _, _ in mine & truth)
        extra.update(kind for kind, _, _ in mine - truth)
        missed.update(kind for kind, _, _ in truth - mine)
    table = {}
    for kind in dict.fromkeys(KINDS.values()):
        if hit[kind] + missed[kind]:
            precision, recall = hit[kind] / max(1, hit[kind] + extra[kind]), hit[kind] / (hit[kind] + missed[kind])
            table[kind] = (precision, recall, 2 * precision * recall / max(1e-9, precision + recall), hit[kind] + missed[kind])
    return table


def cpu(work: Callable[[], object], least: float = 0.3) -> float:
    """CPU seconds of one call: the best of three rounds of at least `least` seconds."""
    count, best = 1, float("inf")
    for _ in range(3):
        while True:
            start = time.process_time()
            for _ in range(count):
                work()
            taken = time.process_time() - start
            if taken >= least:
                break
            count = max(count * 2, int(count * least / max(taken, 1e-6)))
        best = min(best, taken / count)
    return best


def personal_data(mirror: Path, peer: bool) -> None:
    rows = json.loads((mirror / "presidio_pii" / "synth_dataset_v2.json").read_text())
    texts = [row["full_text"] for row in rows]
    right = [
        {(KINDS[s["entity_type"]], s["start_position"], s["end_position"]) for s in row["spans"] if s["entity_type"] in KINDS}
        for row in rows
    ]
    size = sum(len(text.encode()) for text in texts)
    everything, shared = PersonalData(), PersonalData(SHARED)
    mine: list[Spans] = [{(f.kind, f.start, f.end) for f in everything.find(text)} for text in texts]
    heldout = [index for index, row in enumerate(rows) if row["template_id"] % 2]
    all_table = f1(mine, right)
    odd_table = f1([mine[i] for i in heldout], [right[i] for i in heldout])
    print(f"\npersonal data: {len(texts)} texts, {size / 1e3:.0f} kB (presidio_pii); strict F1")
    theirs: dict[str, tuple[float, float, float, int]] = {}
    speed = 0.0
    if peer:
        theirs, speed = presidio(texts, right, size)
    print("kind        labelled  precision  recall     F1   F1 on odd templates   Presidio F1")
    for kind, (precision, recall, both, count) in all_table.items():
        odd = f"{odd_table[kind][2]:.3f}" if kind in odd_table else "-"
        beside = f"{theirs[kind][2]:.3f}" if kind in theirs and kind in SHARED else "-"
        print(f"{kind:10} {count:9}  {precision:9.3f}  {recall:6.3f}  {both:.3f}  {odd:>20}  {beside:>12}")
    for name, check in (("all 13 kinds", everything), ("Presidio's 9 kinds", shared)):
        rate = size / cpu(lambda check=check: [check.find(text) for text in texts]) / 1e6  # type: ignore[misc]
        ratio = f", {rate / speed:.0f} times Presidio's {speed:.2f}" if speed else ""
        print(f"{name}: {rate:.2f} MB/s{ratio}")


def presidio(texts: Sequence[str], right: Sequence[Spans], size: int) -> tuple[dict[str, tuple[float, float, float, int]], float]:
    python = environment("presidio", ["presidio-analyzer==2.2.366"])
    folder = python.parents[1]
    (folder / "texts.json").write_text(json.dumps(texts))
    (folder / "peer.py").write_text(PRESIDIO)
    done = subprocess.run([str(python), str(folder / "peer.py"), str(folder / "texts.json")], capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    found: list[Spans] = [{(KINDS[kind], start, end) for kind, start, end in row if kind in KINDS} for row in answer["rows"]]
    return f1(found, right), size / answer["seconds"] / 1e6


def column(path: Path, name: str, **where: str) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row[name] for row in csv.DictReader(file) if all(row[key] == value for key, value in where.items())]


def suites(mirror: Path) -> dict[str, list[str]]:
    questions = [json.loads(line)["question"] for line in (mirror / "gsm8k" / "test.jsonl").read_text().splitlines()]
    tasks = [json.loads(line) for line in (mirror / "self_instruct_seed" / "user_oriented_instructions.jsonl").read_text().splitlines()]
    return {
        "giskard: hijacking": column(mirror / "giskard_prompt_injections" / "prompt_injections.csv", "prompt", group="Hijacking attacks"),
        "giskard: jailbreaks": column(mirror / "giskard_prompt_injections" / "prompt_injections.csv", "prompt", group="Jailbreak"),
        "AdvBench (harmful requests)": column(mirror / "advbench" / "harmful_behaviors.csv", "goal"),
        "XSTest unsafe": column(mirror / "xstest" / "xstest_prompts.csv", "prompt", label="unsafe"),
        "XSTest safe": column(mirror / "xstest" / "xstest_prompts.csv", "prompt", label="safe"),
        "Banking77 test": column(mirror / "banking77" / "test.csv", "text"),
        "GSM8K test": questions,
        "self-instruct, user tasks": [f"{task['instruction']} {task['instances'][0]['input']}" for task in tasks],
    }


def share(hits: Iterable[bool]) -> str:
    given = list(hits)
    return f"{100 * sum(given) / len(given):6.2f} %"


def detection(mirror: Path) -> None:
    injection, toxic, personal = Injection(), Toxicity(), PersonalData()
    print("\nshare of texts with a finding at the default thresholds")
    print("suite                          texts   injection  (rules only)  toxicity  personal data")
    for name, texts in suites(mirror).items():
        both = share(bool(injection.find(text)) for text in texts)
        rules = share(by_rules(text)[0] >= injection.threshold for text in texts)
        bad = share(bool(toxic.find(text)) for text in texts)
        data = share(bool(personal.find(text)) for text in texts)
        print(f"{name:29} {len(texts):6}   {both}      {rules}  {bad}      {data}")


def toxicity(mirror: Path) -> None:
    from screening_models import held_out, tweets
    from sklearn.metrics import roc_auc_score

    check = Toxicity()
    rows = [(text, label) for text, label in tweets(mirror) if held_out(text)]
    scores, labels = [check.score(text) for text, _ in rows], [label for _, label in rows]
    right = sum(s >= check.threshold and bool(label) for s, label in zip(scores, labels, strict=True))
    said = sum(s >= check.threshold for s in scores)
    precision, recall = right / said, right / sum(labels)
    print(f"\ntoxicity, Davidson held out: {len(rows)} tweets, {sum(labels)} hate or offensive; threshold {check.threshold}")
    both = 2 * precision * recall / (precision + recall)
    print(f"precision {precision:.3f}  recall {recall:.3f}  F1 {both:.3f}  AUC {roc_auc_score(labels, scores):.3f}")
    print(f"false positives among neither: {(said - right) / (len(labels) - sum(labels)):.3f}")
    identity(mirror, check)


def identity(mirror: Path, check: Toxicity) -> None:
    from screening_texts import GROUPS
    from sklearn.metrics import roc_auc_score

    with (mirror / "bias_madlibs" / "bias_madlibs_77k.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["Text"], row["Label"] == "BAD") for row in csv.DictReader(file)]
    scores = [check.score(text) for text, _ in rows]
    hits: dict[tuple[str, bool], list[bool]] = defaultdict(list)
    names = set(GROUPS)
    for (text, bad), score in zip(rows, scores, strict=True):
        for term in names & set(re.findall(r"[a-z-]+", text.lower())):
            hits[term, bad].append(score >= check.threshold)
    wrong = {term: sum(seen) / len(seen) for (term, bad), seen in hits.items() if not bad}
    overall = [s >= check.threshold for s, (_, bad) in zip(scores, rows, strict=True) if not bad]
    found = [s >= check.threshold for s, (_, bad) in zip(scores, rows, strict=True) if bad]
    auc = roc_auc_score([bad for _, bad in rows], scores)
    print(f"identity terms (bias_madlibs, {len(rows)} sentences): AUC {auc:.3f}, found {share(found)}, false positives {share(overall)}")
    worst = sorted(wrong.items(), key=lambda item: -item[1])[:5]
    print(f"false positives by term: {min(wrong.values()):.3f}–{max(wrong.values()):.3f} over {len(wrong)} terms; most: ", end="")
    print(", ".join(f"{term} {rate:.3f}" for term, rate in worst))


def costs(mirror: Path) -> None:
    questions = " ".join(suites(mirror)["GSM8K test"])
    sized = {name: questions[:size] for name, size in (("200 B", 200), ("2 KB", 2000), ("20 KB", 20000))}
    phrases = [f"secret number {index}" for index in range(1000)]
    checks = (
        ("personal_data", PersonalData()),
        ("injection", Injection()),
        ("toxicity", Toxicity()),
        ("words (1,000 phrases)", Words(phrases)),
    )
    print("\nCPU µs a text without findings\ncheck                      " + "".join(f"{name:>10}" for name in sized))
    for name, check in checks:
        print(f"{name:25}" + "".join(f"{1e6 * cpu(lambda c=check, t=text: c.find(t)):12.1f}" for text in sized.values()))  # type: ignore[misc]
    all_four = Guards(
        [
            Guard("personal_data", "mask"),
            Guard("injection", "block"),
            Guard("toxicity", "flag"),
            Guard("words", "block", words=tuple(phrases)),
        ]
    )
    bodies = [{"messages": [{"role": "user", "content": text}]} for text in sized.values()]
    taken = [1e6 * cpu(lambda b=body: all_four.input("/v1/chat/completions", b)) for body in bodies]  # type: ignore[misc]
    print(f"{'all four, a chat request':25}" + "".join(f"{value:12.1f}" for value in taken))
    streams(questions)


def streams(text: str) -> None:
    pieces = re.findall(r"\s?\S+", text)[:64]
    events = [
        b"data: "
        + json.dumps(
            {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [{"index": 0, "delta": {"content": piece}}]}
        ).encode()
        + b"\n\n"
        for piece in pieces
    ]
    for name, guards in (
        ("personal data, masked", [Guard("personal_data", "mask")]),
        ("personal data, flagged", [Guard("personal_data", "flag")]),
        ("toxicity, blocked", [Guard("toxicity", "block")]),
    ):
        made = Guards(guards)

        def work(made: Guards = made) -> None:
            guard = made.output("/v1/chat/completions", True)
            assert guard is not None
            for event in events:
                guard.feed(event)
            guard.end()

        print(f"stream of {len(events)} words, {name}: {1e6 * cpu(work) / len(events):.1f} µs an event")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mirror", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--no-peer", action="store_true")
    options = parser.parse_args()
    personal_data(options.mirror, not options.no_peer)
    detection(options.mirror)
    toxicity(options.mirror)
    costs(options.mirror)
