"""A real trace as load: times and lengths are the trace's, scaled to the model and never beyond its context."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from penstock.control.loadtest.orders import Asking, Writer
from penstock.control.loadtest.replay import orders, replay
from penstock.control.scaling.trace import read_trace
from penstock.core.errors import BadInput


@pytest.fixture
def conv(mirror: Path) -> Path:
    file = mirror / "azure_llm_trace_2023" / "AzureLLMInferenceTrace_conv.csv"
    if not file.is_file():
        pytest.skip(f"no {file}")
    return file


def test_the_trace_fits_a_small_context(conv: Path) -> None:
    trace = read_trace(conv, 10.0)
    whole = replay(trace, None, None)
    assert len(whole.due) == 19_366
    assert whole.scale == 1.0
    assert whole.due[0] == 0.0
    assert 330 < whole.due[-1] < 370  # an hour, ten times as fast
    small = replay(trace, 60, 256)
    assert all(prompt + answer <= 256 for prompt, answer in small.lengths)
    assert 0 < small.clipped <= 0.06 * len(small.lengths)
    assert small.due == [at for at in whole.due if at <= 60]
    facts = small.facts("conv", 10.0)
    assert facts["median_prompt_tokens"] < 256 * 0.5
    with pytest.raises(BadInput, match="lie within"):
        replay(trace, 1e-6, None)


def test_each_request_asks_for_the_lengths_of_the_trace(conv: Path) -> None:
    found = replay(read_trace(conv), 30, 512)
    writer = Writer(3, count=lambda text: 2 * len(text.split()))  # a tokenizer of two tokens a word
    made = list(itertools.islice(orders(found, Asking("m", "completions", True, 16), writer), len(found.due)))
    for (prompt, answer), order in zip(found.lengths, made, strict=True):
        body = json.loads(order.body)
        assert body["max_tokens"] == answer
        assert prompt - 2 <= 2 * len(body["prompt"].split()) <= max(prompt, 2)
