"""What importing and asking for help costs: nothing heavy is loaded."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = [
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
    "asyncio",
]


def loaded(code: str) -> set[str]:
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
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    assert not loaded(code) & set(HEAVY)


@pytest.mark.parametrize("module", ["penstock.spec.load", "penstock.store.store", "penstock.control.api", "penstock.cli.commands.run"])
def test_no_model_library_below_the_commands(module: str) -> None:
    assert not loaded(f"import {module}") & set(
        ["torch", "transformers", "peft", "openvino", "openvino_genai", "polars", "pyarrow", "sklearn", "scipy", "optuna", "boto3"]
    )


def test_the_check_can_fail() -> None:
    assert "sqlalchemy" in loaded("import sqlalchemy")
