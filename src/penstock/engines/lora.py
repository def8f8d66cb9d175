"""A LoRA adapter as PEFT saves it: what a decoder's graph needs of it, checked against that graph.

`base_model_name_or_path` may hold a digest: that of the weights it was trained on (`weights_digest`), as the train stage writes it.
Not covered, and refused: DoRA, trained biases, whole modules saved beside, ranks or scales that differ by module, embeddings.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.core.digests import digest_file, digest_json, hex_of
from penstock.core.errors import BadInput

if TYPE_CHECKING:
    import numpy as np

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_REFUSED = (
    "use_dora",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "fan_in_fan_out",
    "layer_replication",
    "trainable_token_indices",
)


@dataclass(frozen=True, slots=True)
class Adapter:
    """`scale` times B·A is added to the weight of each module; `pairs` maps a module to A (rank, in) and B (out, rank).

    `base`: digest of the weights that it was trained on, where its files tell.
    """

    file: Path
    digest: str
    scale: float
    pairs: Mapping[str, tuple[np.ndarray, np.ndarray]]
    base: str | None = None

    @property
    def key(self) -> str:
        """Equal for adapters that do the same."""
        return f"{self.digest} {self.scale}"

    def check(self, sizes: Mapping[str, tuple[int, int]]) -> None:
        """`sizes`: (in, out) of the model's linear modules. Raises BadInput for a module that is not there or has another size."""
        for module, (down, up) in self.pairs.items():
            if module not in sizes:
                raise BadInput(f"the adapter changes {module}, which this model does not have", remedy="Use one trained on this base.")
            if (down.shape[1], up.shape[0]) != sizes[module]:
                given, out = sizes[module]
                raise BadInput(
                    f"the adapter's {module} is {up.shape} by {down.shape}, which does not fit the model's {out} by {given}",
                    remedy="Use one trained on this base.",
                )

    def applied(self, model: Any) -> Any:
        """The OpenVINO model with the adapter's branch beside each of its modules. Raises BadInput for one that does not fit."""
        import numpy as np
        from openvino import opset13

        nodes: dict[str, Any] = {}
        for node in model.get_ordered_ops():
            if (name := module_of(node.get_friendly_name(), node.get_type_name())) is not None:
                nodes.setdefault(name, node)
        self.check({name: _sizes(node) for name, node in nodes.items() if name in self.pairs})
        for module, (down, up) in self.pairs.items():
            given, out = nodes[module].input_value(0), nodes[module].output(0)
            readers = out.get_target_inputs()
            low = opset13.matmul(given, opset13.constant(down), False, True)
            added = opset13.add(out, opset13.matmul(low, opset13.constant(up * np.float32(self.scale)), False, True))
            for reader in readers:
                reader.replace_source_output(added.output(0))
        return model


def module_of(node: str, kind: str) -> str | None:
    """The linear module whose product a graph's node is, as PyTorch's exporter names nodes; None for any other node."""
    name, slash, _ = node.removeprefix("__module.").partition("/")
    return name if kind == "MatMul" and slash and node.startswith("__module.") else None


def _sizes(node: Any) -> tuple[int, int]:
    shapes = (node.input_value(0).get_partial_shape()[-1], node.output(0).get_partial_shape()[-1])
    return tuple(-1 if shape.is_dynamic else shape.get_length() for shape in shapes)  # type: ignore[return-value]


def weights_digest(files: Mapping[str, str]) -> str:
    """Names a model's weights: `files` maps the POSIX paths of its folder to digests; only safetensors at the top level count."""
    return digest_json(sorted(digest for path, digest in files.items() if path.endswith(".safetensors") and "/" not in path))


def read_adapter(folder: Path) -> Adapter:
    """Raises BadInput naming what is missing in `folder`, or cannot be served."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise BadInput(f"{folder} holds no {name}", remedy="Give the folder that PEFT's save_pretrained wrote.")
    try:
        known = json.loads((folder / CONFIG).read_bytes())
        tensors = load_file(folder / WEIGHTS)
    except (ValueError, SafetensorError, TypeError, KeyError, AttributeError) as error:
        raise BadInput(f"the adapter in {folder} does not read: {error}", remedy="Save it as float32 or float16 safetensors.") from error
    scale, pairs = _scale(known, folder), _pairs(tensors, folder)
    for module, (down, up) in pairs.items():
        if not down.shape[0] == up.shape[1] == known["r"]:
            raise BadInput(f"the adapter in {folder} says rank {known['r']}, but its {module} is {up.shape} by {down.shape}")
    return Adapter(folder / WEIGHTS, digest_file(folder / WEIGHTS), scale, pairs, _base(known))


def _base(known: Mapping[str, Any]) -> str | None:
    named = known.get("base_model_name_or_path")
    try:
        hex_of(named if isinstance(named, str) else "")
    except ValueError:
        return None  # a path or a hub id, which says nothing of bytes
    return str(named)


def _scale(known: Mapping[str, Any], folder: Path) -> float:
    if known.get("peft_type") != "LORA":
        raise BadInput(f"the adapter in {folder} is of type {known.get('peft_type')!r}; only LORA is served")
    for name in _REFUSED:
        if known.get(name):
            raise BadInput(f"the adapter in {folder} has {name}, which cannot be served")
    if known.get("bias", "none") != "none":
        raise BadInput(f"the adapter in {folder} has trained biases, which cannot be served")
    rank, alpha = known.get("r"), known.get("lora_alpha")
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        raise BadInput(f"the adapter in {folder} has rank {rank!r} and lora_alpha {alpha!r}; numbers are wanted")
    return float(alpha / (math.sqrt(rank) if known.get("use_rslora") else rank))


def _pairs(tensors: Mapping[str, np.ndarray], folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    import numpy as np

    found: dict[str, dict[str, np.ndarray]] = {}
    for name, value in tensors.items():
        module, _, kind = name.removeprefix(_PREFIX).removesuffix(".weight").rpartition(".")
        if not name.startswith(_PREFIX) or kind not in ("lora_A", "lora_B") or value.ndim != 2:
            raise BadInput(f"the adapter in {folder} holds {name}, which is no part of a linear module's LoRA")
        found.setdefault(module, {})[kind] = value.astype(np.float32)
    for module, pair in found.items():
        if len(pair) != 2:
            raise BadInput(f"the adapter in {folder} has only one of lora_A and lora_B for {module}")
    if not found:
        raise BadInput(f"the adapter in {folder} holds nothing")
    return {module: (pair["lora_A"], pair["lora_B"]) for module, pair in found.items()}
