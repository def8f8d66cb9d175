"""A real LoRA adapter over HTTP: loaded at start or on request, it answers as the engine does when called directly."""

from __future__ import annotations

import importlib
from pathlib import Path

import httpx
import pytest

from penstock.testing.serving import Stage

pytestmark = [
    pytest.mark.slow,
    pytest.mark.models,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory, decoder_folder: Path) -> Path:
    """PEFT's files of an adapter whose weights are far from nothing."""
    peft, torch, transformers = (importlib.import_module(name) for name in ("peft", "torch", "transformers"))
    torch.manual_seed(3)
    base = transformers.AutoModelForCausalLM.from_pretrained(decoder_folder, local_files_only=True)
    config = peft.LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    root = tmp_path_factory.mktemp("adapters")
    peft.get_peft_model(base, config).save_pretrained(root / "odd")
    return Path(root)


def test_a_replica_serves_adapters_beside_the_base(lora: Path, decoder_bundle: Path, tmp_path: Path) -> None:
    spec = {"engine_class": None, "bundle": str(decoder_bundle), "adapter_root": str(lora), "settings": {"inference_precision": "f32"}}
    with Stage(tmp_path) as stage:
        replica = stage.replica("r", "plays", adapters={"odd": str(lora / "odd")}, **spec)
        with httpx.Client(base_url=f"http://127.0.0.1:{replica.route.port}", trust_env=False, timeout=60) as client:

            def said(model: str) -> str:
                body = {"model": model, "prompt": "Where is", "max_tokens": 12, "temperature": 0}
                answer = client.post("/v1/completions", json=body)
                assert answer.status_code == 200, answer.text
                return str(answer.json()["choices"][0]["text"])

            base, odd = said("plays"), said("plays:odd")
            assert base != odd
            again = client.post("/v1/load_lora_adapter", json={"lora_name": "again", "lora_path": "odd"})
            assert again.json()["adapters"] == ["again", "odd"]
            assert said("plays:again") == odd
            assert said("plays") == base
            assert client.post("/v1/unload_lora_adapter", json={"lora_name": "odd"}).json()["adapters"] == ["again"]
            assert client.post("/v1/completions", json={"model": "plays:odd", "prompt": "a"}).status_code == 404
            assert client.get("/healthz").json()["adapters"] == ["again"]
