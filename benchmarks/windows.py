"""Records on disk to signals: the watcher beside DuckDB, Polars and a loop with `ddsketch` over the same files.

The same work: lines of JSON, by minute and version: requests, errors, tokens, cost, and p50, p95, p99 of the time. The watcher also keeps
first-byte and queue times, replicas, labels, energy, host; joins feedback; writes windows to disk and signals to SQLite; remembers its
place. The batch tools begin anew at every look and keep nothing; they get one thread, as the watcher has. Prints records/s by CPU time
and by the clock, memory, and how far the quantiles are apart.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peer import environment

T = 1_700_000_000 // 3600 * 3600
RATE = 500  # requests a second
SEGMENT = 80_000  # records
LINE = (
    '{"ts":%.6f,"id":"req-%020d","model":"m","version":"%s","replica":"m-%s-%s","route":"/v1/classify","key":"key-%02d",'
    '"status":%d,"bytes_in":312,"bytes_out":845,"prompt_tokens":57,"completion_tokens":%d,"queue_ms":%.3f,"first_ms":%.3f,"total_ms":%.3f,"attempts":1,"error":null,'
    '"trace":"%032x","span":"%016x","parent":null,"session":"s-%012x","adapter":null,"experiment":null,"shadow_of":null,"fallback_for":null,'
    '"hedged":false,"stream":false,"flags":[],"guard_ms":0.0,"cost_usd":%.6f,"energy_wh":%.6f,"text_in":null,"text_out":null,"label":"class-%02d",'
    '"confidence":%.4f,"metadata":{"channel":"%s"}}\n'
)
MEASURE = """
import json, sys, time
given = globals().get("prepared", lambda *_: ())(sys.argv[1], sys.argv[2])
began, cpu = time.perf_counter(), time.process_time()
found = work(sys.argv[1], sys.argv[2], *given)
cpu, s = time.process_time() - cpu, time.perf_counter() - began
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"s": s, "cpu_s": cpu, "peak_mib": peak / 1024, **found}))
"""
OURS = """
import json, os, sys
from pathlib import Path
from penstock.control.watch.reader import Reader
from penstock.control.watch.watcher import Watcher, rarely_collect
from penstock.core.clock import ManualClock
from penstock.core.home import Home
from penstock.store.store import Store
from penstock.testing.watched import deployment, registered

def prepared(records, folder):
    began, monitor = float(sys.argv[3]), json.loads(sys.argv[4])
    home = Home(Path(folder), f"sqlite:///{folder}/penstock.db", Path(folder, "artifacts").as_uri())
    home.gateway.mkdir()
    (home.gateway / "records").symlink_to(records)
    store = Store.open(home)
    registered(store)
    deployment(store, versions=(1, 2), **monitor)
    watcher = Watcher(home, store, ManualClock(began + 400_000.0))
    watcher.until, watcher.reader = began, Reader.anew(home.gateway / "records", began)
    watcher.ratings.reader = watcher.reader
    rarely_collect()
    return store, watcher

def work(records, folder, store, watcher):
    memory = []
    page = os.sysconf("SC_PAGE_SIZE")
    while watcher.turn():
        memory.append(int(open("/proc/self/statm").read().split()[1]) * page / 2**20)
    watcher.close()
    rows = {}
    for signal in store.signals.read("m", name="latency.p95_ms"):
        if signal.version and not signal.slice:
            rows[f"{int(signal.at) - 60}/{signal.version}"] = [signal.count, signal.value]
    half = memory[len(memory) // 10 : len(memory) // 2]
    return {"records": watcher.health.records, "signals": watcher.health.signals, "rows": rows,
            "memory_mib": [max(half or [0.0]), max(memory[len(memory) // 2 :] or [0.0])]}
"""
DUCKDB = """
import duckdb

def work(records, folder):
    con = duckdb.connect()
    con.execute("SET threads=1")
    rows = con.execute(f'''
        SELECT CAST(floor((ts + total_ms / 1000) / 60) * 60 AS BIGINT) AS start, version, count(*) AS n,
               sum(CAST(status >= 500 AS INT)) AS failed, sum(completion_tokens) AS tokens, sum(cost_usd) AS cost,
               count(*) FILTER (status < 300) AS well,
               quantile_disc(total_ms, [0.5, 0.95, 0.99]) FILTER (status < 300) AS q
        FROM read_json('{records}/*.jsonl', format='newline_delimited', columns={{ts: 'DOUBLE', total_ms: 'DOUBLE', version: 'VARCHAR',
             status: 'INT', completion_tokens: 'BIGINT', cost_usd: 'DOUBLE'}}) GROUP BY 1, 2''').fetchall()
    return {"records": sum(r[2] for r in rows), "rows": {f"{r[0]}/{r[1]}": [r[6], r[7][1]] for r in rows}}
"""
POLARS = """
import polars as pl

def work(records, folder):
    schema = {"ts": pl.Float64, "total_ms": pl.Float64, "version": pl.String, "status": pl.Int64, "completion_tokens": pl.Int64,
              "cost_usd": pl.Float64}
    well = pl.col("total_ms").filter(pl.col("status") < 300)
    frame = (
        pl.scan_ndjson(f"{records}/*.jsonl", schema=schema)
        .with_columns(((pl.col("ts") + pl.col("total_ms") / 1000) // 60 * 60).cast(pl.Int64).alias("start"))
        .group_by("start", "version")
        .agg(pl.len().alias("n"), (pl.col("status") >= 500).sum().alias("failed"), pl.col("completion_tokens").sum(),
             pl.col("cost_usd").sum(), well.len().alias("well"),
             *(well.quantile(q, "lower").alias(f"p{int(q * 100)}") for q in (0.5, 0.95, 0.99)))
        .collect(engine="streaming")
    )
    rows = frame.to_dicts()
    return {"records": sum(r["n"] for r in rows), "rows": {f"{r['start']}/{r['version']}": [r["well"], r["p95"]] for r in rows}}
"""
LOOP = """
import glob
import orjson
from ddsketch import DDSketch

def work(records, folder):
    rows = {}
    for path in sorted(glob.glob(f"{records}/*.jsonl")):
        with open(path, "rb") as file:
            for line in file:
                r = orjson.loads(line)
                key = (int((r["ts"] + r["total_ms"] / 1000) // 60 * 60), r["version"])
                cell = rows.get(key)
                if cell is None:
                    cell = rows[key] = [0, 0, 0, 0.0, DDSketch(0.01), DDSketch(0.01), DDSketch(0.01)]
                cell[0] += 1
                cell[1] += r["status"] >= 500
                cell[2] += r["completion_tokens"]
                cell[3] += r["cost_usd"]
                if r["status"] < 300:
                    cell[4].add(r["total_ms"])
                    cell[5].add(r["first_ms"])
                    cell[6].add(r["queue_ms"])
    told = {f"{start}/{version}": [c[4].count, c[4].get_quantile_value(0.95)] for (start, version), c in rows.items()}
    return {"records": sum(c[0] for c in rows.values()), "rows": told}
"""
SLICES = {"metadata": ["channel"], "slices": ["key", "channel"]}


def write_records(folder: Path, count: int) -> int:
    """Segments as a gateway writes them; returns their bytes."""
    draw = random.Random(1)
    at, size = float(T), 0
    for first in range(0, count, SEGMENT):
        lines = []
        hour = time.strftime("%Y%m%d-%H", time.gmtime(at))
        for number in range(first, min(count, first + SEGMENT)):
            at += draw.expovariate(RATE)
            took = draw.lognormvariate(3.0, 0.8)
            version, bits = "1" if draw.random() < 0.8 else "2", draw.getrandbits(128)
            named = (version, version, "ab"[bits & 1], bits % 30, 503 if draw.random() < 0.01 else 200)
            figures = (bits % 200, took / 50, took / 2, took, bits, bits >> 64, bits >> 80, took / 1e5, took / 1e4)
            lines.append(
                LINE % (at - took / 1000, number, *named, *figures, bits % 77, 1 / (1 + took / 50), ("web", "app", "mail")[bits % 3])
            )
        data = "".join(lines).encode()
        (folder / f"{hour}-7-{first // SEGMENT + 1}.jsonl").write_bytes(data)
        size += len(data)
    return size


def measured(python: str | Path, program: str, records: Path, *more: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        command = [str(python), "-c", program + MEASURE, str(records), folder, *more]
        env = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env={**_environ(), **env})
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _environ() -> Mapping[str, str]:
    import os

    return os.environ


def told(name: str, run: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    rate, speed = run["records"] / run["cpu_s"], ours["records"] / ours["cpu_s"]
    by_clock = run["records"] / run["s"]
    shown = f"{rate:>9,.0f} records/s of CPU {by_clock:>9,.0f} by the clock {run['peak_mib']:>6,.0f} MiB"
    return f"{name:<34}{shown}  | ours / this {speed / rate:.2f}"


def apart(ours: Mapping[str, Any], exact: Mapping[str, Any]) -> str:
    """How far our p95 of each minute and version is from the exact one; the first and last minutes are partial for us."""
    shared = [key for key in ours["rows"] if key in exact["rows"]]
    same = sum(ours["rows"][key][0] == exact["rows"][key][0] for key in shared)
    worst = max(abs(ours["rows"][key][1] / exact["rows"][key][1] - 1) for key in shared if ours["rows"][key][0] == exact["rows"][key][0])
    return f"{len(shared)} minutes and versions: counts equal in {same}; p95 at most {worst:.2%} from the exact one"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--records", type=int, default=1_000_000)
    options.add_argument("--most", type=int, default=5_000_000, help="records of the second run, for memory")
    options.add_argument("--no-peer", action="store_true", help="leave the peers that must be installed out")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder)
        size = write_records(records, given.records)
        print(
            f"{given.records:,} records of {size / given.records:.0f} bytes, {given.records / RATE / 60:.0f} minutes of {RATE} requests/s",
            flush=True,
        )
        ours = measured(sys.executable, OURS, records, str(T), "{}")
        print(told("penstock: to signals", ours, ours), f" {ours['signals']:,} signals", flush=True)
        sliced = measured(sys.executable, OURS, records, str(T), json.dumps(SLICES))
        print(told("penstock: with 33 slices", sliced, ours), f" {sliced['signals']:,} signals", flush=True)
        exact = measured(sys.executable, POLARS, records)
        print(told("Polars, streaming, exact", exact, ours), flush=True)
        if not given.no_peer:
            python = environment("windows", ("duckdb==2.0.1", "ddsketch==3.0.1", "orjson==3.13.0"))
            print(told("DuckDB, exact", measured(python, DUCKDB, records), ours), flush=True)
            print(told("orjson + ddsketch, a loop", measured(python, LOOP, records), ours), flush=True)
        print(apart(ours, exact))
        if given.most > given.records:
            for path in records.iterdir():
                path.unlink()
            write_records(records, given.most)
            most = measured(sys.executable, OURS, records, str(T), json.dumps(SLICES))
            print(told(f"penstock: {given.most:,}, with slices", most, ours))
            before, after = most["memory_mib"]
            print(f"memory: {sliced['peak_mib']:.0f} MiB after {given.records:,}, {most['peak_mib']:.0f} after {given.most:,} ", end="")
            print(f"(largest in the first half {before:.0f}, in the second {after:.0f})")


if __name__ == "__main__":
    main()
