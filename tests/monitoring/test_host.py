"""The machine as psutil tells it, and GPUs as NVML does: through NVIDIA's own Python package down to the calls of the C library."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pynvml
import pytest

from penstock.monitoring import gpu
from penstock.monitoring.gpu import GpuReading, Gpus
from penstock.monitoring.host import Reading, read, values


def test_this_machine(tmp_path: Path) -> None:
    first = read(tmp_path, time.monotonic())
    sum(n * n for n in range(1_000_000))
    found = values([first, read(tmp_path, time.monotonic())])
    assert set(found) == {"host.cpu", "host.memory", "host.disk", "host.network_bytes_per_s"}
    assert all(0 <= found[name] <= 1 for name in ("host.cpu", "host.memory", "host.disk"))
    assert found["host.cpu"] > 0
    assert found["host.network_bytes_per_s"] >= 0


def test_rates_are_from_the_first_to_the_last_reading_and_states_are_means() -> None:
    readings = [
        Reading(0.0, 10.0, 100.0, 1000.0, 0.2, 0.5, [GpuReading(0.1, 0.5, 60.0, 100.0), GpuReading(0.3, 0.1, 50.0, None)]),
        Reading(5.0, 14.0, 110.0, 2500.0, 0.4, 0.6, [GpuReading(0.5, 0.7, 71.0, 120.0), GpuReading(0.3, 0.1, 50.0, None)]),
    ]
    assert values(readings) == pytest.approx(
        {
            "host.memory": 0.3,
            "host.disk": 0.6,
            "host.cpu": 0.4,
            "host.network_bytes_per_s": 300.0,
            "gpu.use": 0.4,
            "gpu.memory": 0.6,
            "gpu.temperature_c": 71.0,
            "gpu.power_w": 110.0,
        }
    )
    assert values(readings[:1]) == {}
    begun_anew = Reading(10.0, 15.0, 120.0, 3.0, 0.4, 0.6)
    assert "host.network_bytes_per_s" not in values([readings[0], begun_anew])


class Library:
    """libnvidia-ml as its callers see it: C functions that check their arguments' types, write through pointers and return a code."""

    def __init__(self, devices: list[dict[str, Any]]) -> None:
        self.devices, self.ready, self.broken = devices, 0, False

    def __getattr__(self, name: str) -> Callable[..., int]:
        known = {
            "nvmlInitWithFlags": self._init,
            "nvmlShutdown": self._shutdown,
            "nvmlDeviceGetCount_v2": self._count,
            "nvmlDeviceGetHandleByIndex_v2": self._handle,
            "nvmlDeviceGetUtilizationRates": self._utilization,
            "nvmlDeviceGetMemoryInfo": self._memory,
            "nvmlDeviceGetTemperature": self._temperature,
            "nvmlDeviceGetPowerUsage": self._power,
        }
        if name not in known:
            raise AttributeError(name)  # as a symbol that an older driver lacks
        return known[name]

    def _init(self, flags: int) -> int:
        assert flags == 0
        self.ready += 1
        return int(pynvml.NVML_SUCCESS)

    def _shutdown(self) -> int:
        if not self.ready:
            return int(pynvml.NVML_ERROR_UNINITIALIZED)
        self.ready -= 1
        return int(pynvml.NVML_SUCCESS)

    def _count(self, out: Any) -> int:
        return self._put(out, ctypes.c_uint, len(self.devices))

    def _handle(self, index: ctypes.c_uint, out: Any) -> int:
        assert isinstance(index, ctypes.c_uint)
        if index.value >= len(self.devices):
            return int(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        assert isinstance(out._obj, pynvml.c_nvmlDevice_t)
        ctypes.cast(ctypes.byref(out._obj), ctypes.POINTER(ctypes.c_void_p))[0] = 1000 + index.value
        return self._state()

    def _utilization(self, handle: Any, out: Any) -> int:
        assert isinstance(out._obj, pynvml.c_nvmlUtilization_t)
        return self._fields(handle, out, "use", gpu="use", memory="use")

    def _memory(self, handle: Any, out: Any) -> int:
        assert isinstance(out._obj, pynvml.c_nvmlMemory_t)
        return self._fields(handle, out, "used", total="total", used="used")

    def _temperature(self, handle: Any, sensor: Any, out: Any) -> int:
        assert sensor.value == pynvml.NVML_TEMPERATURE_GPU
        return self._one(handle, out, "temperature")

    def _power(self, handle: Any, out: Any) -> int:
        return self._one(handle, out, "milliwatts")

    def _device(self, handle: Any) -> dict[str, Any]:
        assert isinstance(handle, pynvml.c_nvmlDevice_t)
        address = ctypes.cast(handle, ctypes.c_void_p).value
        assert address is not None
        return self.devices[address - 1000]

    def _fields(self, handle: Any, out: Any, asked: str, **names: str) -> int:
        device = self._device(handle)
        if asked not in device:
            return int(pynvml.NVML_ERROR_NOT_SUPPORTED)
        for field, name in names.items():
            setattr(out._obj, field, device[name])
        return self._state()

    def _one(self, handle: Any, out: Any, name: str) -> int:
        device = self._device(handle)
        return self._put(out, ctypes.c_uint, device[name]) if name in device else int(pynvml.NVML_ERROR_NOT_SUPPORTED)

    def _put(self, out: Any, kind: type, value: int) -> int:
        assert isinstance(out._obj, kind)
        out._obj.value = value
        return self._state()

    def _state(self) -> int:
        if not self.ready:
            return int(pynvml.NVML_ERROR_UNINITIALIZED)
        return int(pynvml.NVML_ERROR_GPU_IS_LOST if self.broken else pynvml.NVML_SUCCESS)


TWO = [
    {"use": 40, "total": 80 << 30, "used": 20 << 30, "temperature": 61, "milliwatts": 250_500},
    {"total": 80 << 30, "used": 60 << 30, "temperature": 70},  # tells neither use nor power
]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    made = Library([dict(device) for device in TWO])
    monkeypatch.setattr(pynvml, "nvmlLib", made)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    yield made
    pynvml._nvmlGetFunctionPointer_cache.clear()


def test_every_device_tells_what_it_can(library: Library) -> None:
    gpus = Gpus()
    assert gpus.read() == [GpuReading(0.4, 0.25, 61.0, 250.5), GpuReading(None, 0.75, 70.0, None)]
    assert gpu.values(gpus.read()) == {"gpu.use": 0.4, "gpu.memory": 0.75, "gpu.temperature_c": 70.0, "gpu.power_w": 250.5}
    assert library.ready == 1
    gpus.close()
    assert library.ready == 0
    gpus.close()
    assert library.ready == 0


def test_a_device_that_is_lost_is_said_and_asked_again(library: Library, caplog: pytest.LogCaptureFixture) -> None:
    gpus = Gpus()
    assert len(gpus.read()) == 2
    library.broken = True
    assert gpus.read() == ()
    assert "lost" in caplog.text
    library.broken = False
    assert len(gpus.read()) == 2


def test_a_driver_without_devices(library: Library) -> None:
    library.devices = []
    assert Gpus().read() == []
    assert gpu.values([]) == {}


def test_no_driver_is_looked_for_now_and_then_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def missing(name: str) -> None:
        asked.append(name)
        raise OSError(name)

    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "CDLL", missing)
    gpus = Gpus()
    assert [len(gpus.read()) for _ in range(gpu.LOOK_AGAIN + 1)] == [0] * (gpu.LOOK_AGAIN + 1)
    assert asked == ["libnvidia-ml.so.1"]
    assert gpus.read() == ()
    assert len(asked) == 2


def test_no_python_package_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "find_spec", lambda _: None)
    assert Gpus().read() == ()
