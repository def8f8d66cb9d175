"""Flat masters: the arithmetic is AdamW's, and cutting the embedding changes no result."""

import numpy as np
import pytest
import torch
from torch import nn

from penstock.stages.train.compact import cut
from penstock.stages.train.schedule import Schedule
from penstock.stages.train.weights import Recipe, Weights


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(50, 12, padding_idx=0), nn.Linear(12, 12), nn.LayerNorm(12), nn.Linear(12, 3))


def losses(net: nn.Module, step, tokens: torch.Tensor, count: int = 6) -> list[float]:
    seen = []
    for _ in range(count):
        loss = nn.functional.cross_entropy(net(tokens).mean(1).float(), torch.tensor([0, 1, 2, 1]))
        loss.backward()
        step()
        seen.append(float(loss.detach()))
    return seen


TOKENS = torch.tensor([[4, 9, 0], [7, 9, 11], [30, 4, 4], [12, 0, 0]])


def test_the_arithmetic_is_that_of_adamw():
    plain, ours = model(), model()
    groups = [
        {"params": [p for p in plain.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in plain.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=1e-2)

    def reference() -> None:
        nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        adam.step()
        adam.zero_grad()

    weights = Weights(ours, torch.float32, Recipe(0.1, clip=0.5))
    assert losses(plain, reference, TOKENS) == pytest.approx(losses(ours, lambda: weights.step(1e-2), TOKENS), rel=1e-5)
    weights.finish(weights.master)
    for a, b in zip(plain.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_a_small_step_is_not_lost_to_bf16():
    net = model()
    weights = Weights(net, torch.bfloat16, Recipe(0.0))
    assert net[1].weight.dtype == torch.bfloat16
    before = weights.master.clone()
    losses(net, lambda: weights.step(1e-6), TOKENS, 3)
    assert (weights.master != before).any()
    weights.finish(weights.master)
    assert all(p.dtype == torch.float32 for p in net.parameters())


def test_frozen_weights_come_back_as_they_were():
    net = model()
    before = net[0].weight.detach().clone()
    net[0].weight.requires_grad_(False)
    weights = Weights(net, torch.bfloat16, Recipe(0.0))
    losses(net, lambda: weights.step(1e-2), TOKENS, 2)
    weights.finish(weights.master)
    assert torch.equal(net[0].weight, before)


def test_cutting_the_embedding_changes_no_result():
    whole, small = model(), model()
    trained = Weights(whole, torch.float32, Recipe(0.0))
    expected = losses(whole, lambda: trained.step(1e-2), TOKENS)
    trained.finish(trained.master)
    trim = cut(small[0], TOKENS.flatten().numpy(), 0)
    assert len(small[0].weight) == len({*TOKENS.flatten().tolist(), 0})
    weights = Weights(small, torch.float32, Recipe(0.0))
    tokens = torch.from_numpy(np.asarray(trim.encode(TOKENS.numpy())))
    assert losses(small, lambda: weights.step(1e-2), tokens) == pytest.approx(expected, rel=1e-6)
    weights.finish(weights.master)
    trim.undo()
    torch.testing.assert_close(small[0].weight, whole[0].weight)


def test_the_rate_rises_then_falls_to_its_floor():
    line = Schedule(1.0, 100, 0.1)
    assert [line.at(0), line.at(9), line.at(10)] == pytest.approx([0.1, 1.0, 1.0])
    assert line.at(99) == pytest.approx(1 / 90)
    curve = Schedule(1.0, 100, 0.1, "cosine", 0.05)
    assert curve.at(100) == pytest.approx(0.05)
    assert all(curve.at(i) >= curve.at(i + 1) for i in range(10, 99))
