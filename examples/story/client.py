"""An independent client: it asks, counts what came back, and says afterwards which label was right. Standard library only.

Usage: python client.py FOLDER. It holds orders.json (url, key, model), known.csv and new.csv (text,category), and mix.json, which is read
again and again: {"rate": requests a second, "new": share of new intents, "rated": share that is rated, "stop": false}. Counts are in
counts.json: asked, failed (any status but 200, no answer, or one without a label), by version; failures.jsonl has each failure.
"""

from __future__ import annotations

import contextlib
import csv
import http.client
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

THREADS = 8
PATIENCE_S = 30.0  # for one answer
PAUSE_S = 0.05


class Client:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        orders = json.loads((folder / "orders.json").read_bytes())
        self.address = urlsplit(orders["url"])
        self.headers = {"Authorization": f"Bearer {orders['key']}", "Content-Type": "application/json"}
        self.model = orders["model"]
        self.rows = {name: list(csv.DictReader((folder / f"{name}.csv").open(encoding="utf-8", newline=""))) for name in ("known", "new")}
        self.mix = {"rate": 0.0, "new": 0.0, "rated": 1.0, "stop": False}
        self.lock = threading.Lock()
        self.asked = self.failed = self.rated = self.unrated = 0
        self.versions: Counter[str] = Counter()
        self.right: Counter[str] = Counter()
        self.due = time.monotonic()
        self.number = 0
        self.order = {name: random.Random(7).sample(range(len(rows)), len(rows)) for name, rows in self.rows.items()}
        self.drawn: Counter[str] = Counter()

    def run(self) -> None:
        threads = [threading.Thread(target=self.work, args=(n,), daemon=True) for n in range(THREADS)]
        for thread in threads:
            thread.start()
        while not self.mix["stop"]:
            self.look()
            self.tell()
            time.sleep(0.2)
        for thread in threads:
            thread.join(PATIENCE_S)
        self.tell()

    def look(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # being written: the next look finds it
            self.mix = {**self.mix, **json.loads((self.folder / "mix.json").read_bytes())}

    def tell(self) -> None:
        with self.lock:
            counts = {"asked": self.asked, "failed": self.failed, "rated": self.rated, "unrated": self.unrated}
            counts |= {"versions": dict(self.versions), "right": dict(self.right)}  # type: ignore[dict-item]  # counts by version
        part = self.folder / f".counts-{os.getpid()}"
        part.write_text(json.dumps(counts))
        part.replace(self.folder / "counts.json")

    def draw(self, chance: random.Random) -> tuple[int, dict[str, str]]:
        """Each row once before any comes twice."""
        with self.lock:
            self.number += 1
            kind = "new" if chance.random() < self.mix["new"] else "known"
            place = self.order[kind][self.drawn[kind] % len(self.order[kind])]
            self.drawn[kind] += 1
            return self.number, self.rows[kind][place]

    def wait(self) -> bool:
        """Until the next request is due; False when it is over."""
        while not self.mix["stop"]:
            with self.lock:
                rate, now = self.mix["rate"], time.monotonic()
                if rate > 0 and now >= self.due:
                    self.due = max(self.due + 1 / rate, now - 1.0)
                    return True
                rest = self.due - now if rate > 0 else PAUSE_S
            time.sleep(min(max(rest, 0.001), PAUSE_S))
        return False

    def work(self, thread: int) -> None:
        chance, connection = random.Random(thread), self.connect()
        while self.wait():
            number, row = self.draw(chance)
            connection = self.ask(connection, number, row, chance)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.address.hostname or "", self.address.port, timeout=PATIENCE_S)

    def ask(
        self, connection: http.client.HTTPConnection, number: int, row: dict[str, str], chance: random.Random
    ) -> http.client.HTTPConnection:
        session = {"x-penstock-session": f"customer-{number}"}
        try:
            body = json.dumps({"model": self.model, "input": row["text"]})
            connection.request("POST", "/v1/classify", body, {**self.headers, **session})
            response = connection.getresponse()
            data, version = response.read(), response.headers.get("x-penstock-version", "?")
            if response.status != 200:
                raise ValueError(f"{response.status} {data[:200]!r}")
            answer = json.loads(data)
            right = answer["data"][0]["label"] == row["category"]
        except (OSError, ValueError, LookupError, TypeError, http.client.HTTPException) as error:
            self.fail(number, error)
            connection.close()
            return self.connect()
        with self.lock:
            self.asked += 1
            self.versions[version] += 1
            self.right[version] += right
        if chance.random() < self.mix["rated"]:
            self.rate(connection, response.headers.get("x-request-id", answer["id"]), row["category"])
        return connection

    def rate(self, connection: http.client.HTTPConnection, ident: str, label: str) -> None:
        try:
            connection.request("POST", "/v1/feedback", json.dumps({"id": ident, "label": label}), self.headers)
            response = connection.getresponse()
            response.read()
            done = response.status < 300
        except (OSError, http.client.HTTPException):
            connection.close()
            done = False
        with self.lock:
            self.rated += done
            self.unrated += not done

    def fail(self, number: int, error: Exception) -> None:
        with self.lock:
            self.asked += 1
            self.failed += 1
            with (self.folder / "failures.jsonl").open("a") as file:
                file.write(json.dumps({"at": time.time(), "number": number, "error": f"{type(error).__name__}: {error}"}) + "\n")


if __name__ == "__main__":
    Client(Path(sys.argv[1])).run()
