"""What training costs where threads that wait for each other spin (libgomp's default) and where they sleep: alone, beside other work.

A step is forward and backward of one feed-forward layer over 512 tokens. Beside: processes that are always busy, as many as CPUs.
Medians of some rounds, in turns; CPU seconds beside wall seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys

STEPS = """
import json, resource, sys, time
import torch
torch.set_num_threads(int(sys.argv[1]))
rounds = int(sys.argv[2])
inner, outer = torch.randn(384, 1536, requires_grad=True), torch.randn(1536, 384, requires_grad=True)
x = torch.randn(512, 384)

def step():
    hidden = torch.nn.functional.gelu(x @ inner)
    torch.nn.functional.layer_norm(x + hidden @ outer, (384,)).sum().backward()

for _ in range(20):
    step()
began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
for _ in range(20 * rounds):
    step()
after = resource.getrusage(resource.RUSAGE_SELF)
cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
print(json.dumps([time.monotonic() - began, cpu]))
"""
BUSY = "while True: pass"


def measured(threads: int, policy: str | None, rounds: int) -> tuple[float, float]:
    """Wall and CPU seconds."""
    kept = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment = {**kept, **({"OMP_WAIT_POLICY": policy} if policy else {})}
    done = subprocess.run([sys.executable, "-c", STEPS, str(threads), str(rounds)], env=environment, capture_output=True, check=True)
    wall, cpu = json.loads(done.stdout)
    return wall, cpu


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5, help="of 20 steps each")
    given = parser.parse_args()
    cpus = len(os.sched_getaffinity(0))
    kinds = [("1 thread", 1, None), (f"{cpus} threads, spinning", cpus, None), (f"{cpus} threads, sleeping", cpus, "PASSIVE")]
    for where, count in (("alone", 0), (f"beside {cpus} busy processes", cpus)):
        beside = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
        try:
            found = [[measured(threads, policy, given.rounds) for _, threads, policy in kinds] for _ in range(given.times)]
        finally:
            for process in beside:
                process.kill()
                process.wait()
        for (name, _, _), rows in zip(kinds, zip(*found, strict=True), strict=True):
            wall, cpu = (statistics.median(values) for values in zip(*rows, strict=True))
            print(f"{where:<26} {name:<24} {wall:6.2f} s wall  {cpu:6.2f} s CPU", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
