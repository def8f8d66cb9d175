"""What importing and asking for help costs: nothing heavy is loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MODEL_LIBRARIES = {
    "torch",
    "transformers",
    "peft",
    "openvino",
    "openvino_genai",
    "polars",
    "pyarrow",
    "sklearn",
    "scipy",
    "optuna",
    "boto3",
}
HEAVY = MODEL_LIBRARIES | {
    "pydantic",
    "ruamel",
    "sqlalchemy",
    "rich",
    "orjson",
    "httptools",
    "uvloop",
    "psutil",
    "fsspec",
    "numpy",
    "asyncio",
    "grafana_foundation_sdk",
}


def loaded(code: str) -> set[str]:
    """Top-level names in sys.modules after running `code` in a fresh process."""
    program = f"import sys\n{code}\nimport json; print('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import penstock",
        "from penstock.cli.main import main; assert main(['--help']) == 0",
        "from penstock.cli.main import main; assert main(['--version']) == 0",
        "from penstock.cli.main import main; assert main(['chek']) == 2",
        "from penstock.cli.main import main; assert main(['runs', '--help']) == 0",
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    assert not loaded(code) & HEAVY


@pytest.mark.parametrize(
    "module",
    [
        "penstock.spec.load",
        "penstock.store.store",
        "penstock.control.api",
        "penstock.cli.commands.run",
        "penstock.platforms.sagemaker.platform",
    ],
)
def test_no_model_library_below_the_commands(module: str) -> None:
    assert not loaded(f"import {module}") & MODEL_LIBRARIES


def test_the_check_can_fail() -> None:
    assert "sqlalchemy" in loaded("import sqlalchemy")


@pytest.mark.parametrize("kind", ["azureml", "kubernetes", "sagemaker", "vertex"])
def test_a_platform_brings_no_client_before_a_call_is_made(kind: str) -> None:
    """Nor what bridges speak HTTP with: they are processes of their own."""
    clients = {"httpx", "urllib3", "boto3", "botocore", "azure.core", "azure.identity", "google.auth", "grpc", "kubernetes"}
    assert not loaded(f"import penstock.platforms.{kind}.platform") & clients


def test_what_it_stands_on_tells_nobody_of_its_use(tmp_path: Path) -> None:
    """OpenVINO's converter and NNCF, asked as they ask themselves, have a stub in place of their reporter, and leave no id in the home."""
    code = """
import penstock
import nncf
import openvino
from openvino.tools.ovc import telemetry_utils
from nncf.telemetry import wrapper
assert telemetry_utils.tm.__name__ == "openvino.tools.ovc.telemetry_stub", telemetry_utils.tm
assert wrapper.telemetry.__class__.__name__ == "NNCFTelemetryStub" or "Mock" in type(wrapper.telemetry).__name__, wrapper.telemetry
telemetry_utils.init_ovc_telemetry()
assert sys.modules["openvino_telemetry"] is None
"""
    environment = {**os.environ, "HOME": str(tmp_path), "CI": ""}
    subprocess.run([sys.executable, "-c", f"import sys\n{code}"], env=environment, capture_output=True, text=True, check=True)
    assert list(tmp_path.iterdir()) == []
