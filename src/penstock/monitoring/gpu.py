"""What NVIDIA's GPUs do, by NVML, where the driver and `nvidia-ml-py` are there; otherwise nothing, said once.

What a device does not tell (some tell no power, a MIG slice no use) is left out. Not covered: other makers' devices.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

log = logging.getLogger("penstock.host")
LOOK_AGAIN = 720  # readings without a GPU after which we look whether one has come


@dataclass(frozen=True, slots=True)
class GpuReading:
    """Of one device. `use`: share of time in which something ran on it; `memory`: share in use. None: it does not tell."""

    use: float | None = None
    memory: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None


class Gpus:
    """`read` as often as you like; the library is opened by the first call and again after it failed."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._skip = 0

    def read(self) -> Sequence[GpuReading]:
        """One reading a device, in the driver's order; empty where there is none."""
        if self._skip:
            self._skip -= 1
            return ()
        nvml = self._nvml = self._nvml or _opened()
        if nvml is None:
            self._skip = LOOK_AGAIN
            return ()
        try:
            return [_read(nvml, nvml.nvmlDeviceGetHandleByIndex(index)) for index in range(nvml.nvmlDeviceGetCount())]
        except nvml.NVMLError as error:  # the driver was reloaded, or a device fell off the bus
            log.error("GPUs cannot be read (%s)", error)
            self.close()
            return ()

    def close(self) -> None:
        nvml, self._nvml = self._nvml, None
        if nvml is not None:
            _told(nvml, nvml.nvmlShutdown)


def values(readings: Sequence[GpuReading]) -> Mapping[str, float]:
    """The signals of all devices together: the busiest, the fullest, the hottest, and all power."""
    by_name: dict[str, tuple[Callable[[Iterator[float]], float], list[float | None]]] = {
        "gpu.use": (max, [reading.use for reading in readings]),
        "gpu.memory": (max, [reading.memory for reading in readings]),
        "gpu.temperature_c": (max, [reading.temperature_c for reading in readings]),
        "gpu.power_w": (sum, [reading.power_w for reading in readings]),
    }
    told = {name: (of, [value for value in found if value is not None]) for name, (of, found) in by_name.items()}
    return {name: of(iter(found)) for name, (of, found) in told.items() if found}


def _opened() -> Any:
    """The library, ready; None where there is no driver, or no Python package for it."""
    if find_spec("pynvml") is None:
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        log.info("no GPU is watched (%s)", error)
        return None
    return pynvml


def _read(nvml: Any, device: Any) -> GpuReading:
    use = _told(nvml, nvml.nvmlDeviceGetUtilizationRates, device)
    memory = _told(nvml, nvml.nvmlDeviceGetMemoryInfo, device)
    temperature = _told(nvml, nvml.nvmlDeviceGetTemperature, device, nvml.NVML_TEMPERATURE_GPU)
    power = _told(nvml, nvml.nvmlDeviceGetPowerUsage, device)  # milliwatts
    return GpuReading(
        use.gpu / 100 if use is not None else None,
        memory.used / memory.total if memory is not None and memory.total else None,
        float(temperature) if temperature is not None else None,
        power / 1000 if power is not None else None,
    )


def _told(nvml: Any, ask: Callable[..., Any], *arguments: Any) -> Any:
    """The answer; None where the device has none."""
    try:
        return ask(*arguments)
    except nvml.NVMLError as error:
        if error.value in (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_NO_PERMISSION, nvml.NVML_ERROR_UNINITIALIZED):
            return None
        raise
