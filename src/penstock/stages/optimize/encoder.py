"""An encoder classifier as one OpenVINO graph: token ids in, logits and a unit-length mean-pooled embedding out.

The graph is traced from the torch module itself. The attention mask is handed over in its full four dimensions, because
the tracer cannot follow transformers' own mask building.
"""

from __future__ import annotations

import warnings
from typing import Any

from penstock.stages.optimize.original import Original

INPUTS, OUTPUTS = ("input_ids", "attention_mask"), ("logits", "embedding")


def convert_encoder(original: Original) -> Any:
    """An openvino.Model with inputs (batch, tokens) int64 and outputs (batch, labels) and (batch, hidden), all dynamic."""
    import openvino
    import torch

    example = torch.ones(2, 7, dtype=torch.long)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer warns of every shape that it takes for a constant; outputs are compared afterwards
        graph = openvino.convert_model(traceable(original), example_input={"input_ids": example, "attention_mask": example})
    for port, name in (*zip(graph.inputs, INPUTS, strict=True), *zip(graph.outputs, OUTPUTS, strict=True)):
        port.get_tensor().set_names({name})
    return graph


def traceable(original: Original) -> Any:
    """The torch module that is traced, and that the export is compared with."""
    import torch

    class Traceable(torch.nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
        def __init__(self, model: torch.nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
            mask = attention_mask[:, None, None, :].to(torch.bool)  # (B, 1, 1, T)
            found = self.model(input_ids=input_ids, attention_mask=mask, output_hidden_states=True)
            weight = attention_mask[:, :, None].to(torch.float32)  # (B, T, 1)
            pooled = (found.hidden_states[-1] * weight).sum(1) / weight.sum(1)  # (B, H)
            return {"logits": found.logits, "embedding": torch.nn.functional.normalize(pooled, dim=-1)}

    return Traceable(original.model).eval()
