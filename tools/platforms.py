"""`make platforms`: one pipeline file on every platform, each by its emulator, with the real commands; prints a table.

Usage: python tools/platforms.py [KIND …]. Exit code 1 when a platform did not serve, or something of it was left.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from penstock.testing.emulators.table import EMULATORS
from penstock.testing.everywhere import Seen, check

HEAD = ("platform", "jobs", "endpoint", "answer", "left behind", "seconds")


def main(kinds: list[str]) -> int:
    rows, good = [HEAD], True
    for kind in kinds or ["local", *EMULATORS.names()]:
        print(f"penstock: {kind} …", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="penstock-") as folder:
            try:
                seen = check(kind, Path(folder))
            except RuntimeError as error:
                print(error, file=sys.stderr)
                seen = Seen(kind, "failed", "-", "", (), 0.0)
        good = good and seen.good
        answer = seen.answer if len(seen.answer) <= 40 else f"{seen.answer[:39]}…"
        rows.append((kind, seen.jobs, seen.endpoint, repr(answer), ", ".join(seen.left) or "nothing", f"{seen.seconds:.0f}"))
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
