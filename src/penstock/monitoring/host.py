"""What this machine does: processors, memory, disk, network, GPUs; read now and then, told as means over a window.

Network is that of all interfaces but loopback: the system keeps no count per process. Not covered: limits of a container's control group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from penstock.monitoring.gpu import GpuReading
from penstock.monitoring.gpu import values as gpu_values


@dataclass(frozen=True, slots=True)
class Reading:
    """`steady`: monotonic seconds. `busy_s` and `all_s` (of all processors) and `network_bytes` are counters.

    `memory` and `disk` shares.
    """

    steady: float
    busy_s: float
    all_s: float
    network_bytes: float
    memory: float
    disk: float
    gpus: Sequence[GpuReading] = ()


def read(folder: Path, steady: float, gpus: Sequence[GpuReading] = ()) -> Reading:
    """`folder`: some existing place on the disk that is looked at."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    everything = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)  # guests are in user time already
    outside = [count for name, count in psutil.net_io_counters(pernic=True).items() if name != "lo"]
    network = sum(count.bytes_sent + count.bytes_recv for count in outside)
    memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(folder))
    return Reading(steady, everything - idle, everything, float(network), 1 - memory.available / memory.total, disk.percent / 100, gpus)


def values(readings: Sequence[Reading]) -> Mapping[str, float]:
    """Signals over two readings or more, oldest first.

    Rates from the first to the last, means of what is a state, the largest of each GPU.
    """
    if len(readings) < 2:
        return {}
    first, last = readings[0], readings[-1]
    found = {
        "host.memory": sum(each.memory for each in readings) / len(readings),
        "host.disk": last.disk,
    }
    if last.all_s > first.all_s:
        found["host.cpu"] = min(1.0, max(0.0, (last.busy_s - first.busy_s) / (last.all_s - first.all_s)))
    if last.steady > first.steady and last.network_bytes >= first.network_bytes:  # counters begin anew when an interface goes
        found["host.network_bytes_per_s"] = (last.network_bytes - first.network_bytes) / (last.steady - first.steady)
    each_time = [told for each in readings if (told := gpu_values(each.gpus))]
    for name in dict.fromkeys(name for told in each_time for name in told):
        of = [told[name] for told in each_time if name in told]
        found[name] = max(of) if name == "gpu.temperature_c" else sum(of) / len(of)
    return found
