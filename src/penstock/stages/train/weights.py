"""Float32 masters of all trained weights in one flat buffer, and AdamW over it.

The model computes in its own dtype (bf16 or float32); its parameters are views of one flat tensor, so an optimizer step is a
handful of long passes over memory instead of hundreds of short ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

ALIGN = 32  # elements: 64 bytes of bf16, so that every view starts on a cache line in any process


@dataclass(frozen=True, slots=True)
class Recipe:
    """`lr_scale` of a parameter by its name multiplies the scheduled rate; `weight_decay` spares vectors (norms, biases)."""

    weight_decay: float
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 1.0
    lr_scale: Callable[[str], float] = lambda _: 1.0


class Weights:
    """Takes over the parameters of `model`: trained ones get masters, frozen ones are cast and kept aside in float32."""

    def __init__(self, model: nn.Module, dtype: torch.dtype, recipe: Recipe) -> None:
        self.model, self.recipe = model, recipe
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        frozen = [(name, p) for name, p in model.named_parameters() if not p.requires_grad]
        groups: dict[tuple[float, bool], list[tuple[str, nn.Parameter]]] = {}
        for name, p in trained:
            groups.setdefault((recipe.lr_scale(name), p.ndim > 1), []).append((name, p))
        self.names, self.params, self.sizes = [], [], []
        bounds: list[tuple[float, bool, int, int]] = []
        start = 0
        for (scale, decays), members in sorted(groups.items()):
            first = start
            for name, p in members:
                self.names.append(name)
                self.params.append(p)
                self.sizes.append((start, p.numel(), p.shape))
                start += -(-p.numel() // ALIGN) * ALIGN
            bounds.append((scale, decays, first, start))
        device = next(model.parameters()).device
        self.master = torch.zeros(start, device=device)
        self.grad = torch.zeros(start, device=device)
        self.compute = self.master if dtype == torch.float32 else torch.zeros(start, dtype=dtype, device=device)
        self.grad_views = [self.grad[a : a + n].view(shape) for a, n, shape in self.sizes]
        for p, (a, n, shape) in zip(self.params, self.sizes, strict=True):
            self.master[a : a + n].copy_(p.data.reshape(-1))
            p.data = self.compute[a : a + n].view(shape)
        self.frozen = {name: p.data.to(torch.float32).clone() for name, p in frozen}
        for _, p in frozen:
            p.data = p.data.to(dtype)
        slices = []
        for scale, decays, first, last in bounds:
            piece = nn.Parameter(self.master[first:last])
            piece.grad = self.grad[first:last]
            slices.append({"params": [piece], "scale": scale, "weight_decay": recipe.weight_decay if decays else 0.0})
        self.adam = torch.optim.AdamW(slices, lr=0.0, betas=recipe.betas, eps=1e-8, fused=True)
        self.publish()

    def publish(self) -> None:
        """Masters → the weights that the model computes with."""
        if self.compute is not self.master:
            self.compute.copy_(self.master)

    def step(self, learning_rate: float, gather: Callable[[torch.Tensor], object] = lambda _: None) -> float:
        """One AdamW step with clipping; returns the gradient norm before clipping. Gradients are taken and cleared.

        `gather` may change the flat gradient in place, such as by adding those of other processes.
        """
        found = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.params]
        torch._foreach_copy_(self.grad_views, found)
        gather(self.grad)
        norm = float(torch.linalg.vector_norm(self.grad))
        if norm > self.recipe.clip > 0:
            self.grad.mul_(self.recipe.clip / norm)
        for group in self.adam.param_groups:
            group["lr"] = learning_rate * group["scale"]
        self.adam.step()
        self.publish()
        for p in self.params:
            p.grad = None
        return norm

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that the next step depends on, as flat tensors (references, not copies)."""
        tensors = {"master": self.master}
        for index, group in enumerate(self.adam.param_groups):
            for key, value in self.adam.state.get(group["params"][0], {}).items():
                tensors[f"adam.{index}.{key}"] = value
        return tensors

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.master.copy_(tensors["master"])
        for index, group in enumerate(self.adam.param_groups):
            prefix = f"adam.{index}."
            found = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            if found:
                piece = group["params"][0]
                self.adam.state[piece] = {k: v.to(piece.device) for k, v in found.items()}  # a fused optimizer has its step there too
        self.publish()

    def finish(self, master: torch.Tensor) -> None:
        """Gives the model back in float32 with the trained weights of `master` (a copy of `self.master` of some step)."""
        for p, (a, n, shape) in zip(self.params, self.sizes, strict=True):
            p.data = master[a : a + n].view(shape).clone()
        for name, p in self.model.named_parameters():
            if name in self.frozen:
                p.data = self.frozen[name].to(p.device)
