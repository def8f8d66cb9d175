"""Batches: every row once, like lengths together, the same for the same seed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from penstock.stages.train.rows import POOL_BATCHES, Rows, by_length, grouped, padded

lengths = st.lists(st.integers(1, 60), min_size=1, max_size=300).map(np.asarray)


@given(lengths, st.integers(1, 40), st.integers(0, 9), st.integers(0, 9))
def test_an_epoch_holds_every_row_once(sizes, batch, seed, epoch):
    batches = grouped(sizes, batch, seed, epoch)
    assert sorted(np.concatenate(batches)) == list(range(len(sizes)))
    assert max(len(b) for b in batches) <= batch
    again = grouped(sizes, batch, seed, epoch)
    assert all((a == b).all() for a, b in zip(batches, again, strict=True))


def test_epochs_differ_and_padding_is_small():
    sizes = np.random.default_rng(0).integers(4, 64, 32 * POOL_BATCHES)
    first, second = grouped(sizes, 32, 7, 0), grouped(sizes, 32, 7, 1)
    assert {tuple(sorted(b)) for b in first} != {tuple(sorted(b)) for b in second}
    filled = sum(sizes[b].sum() for b in first) / sum(sizes[b].max() * len(b) for b in first)
    assert filled > 0.95


@given(lengths, st.integers(1, 40))
def test_evaluation_sees_every_row_once(sizes, batch):
    assert sorted(np.concatenate(by_length(sizes, batch))) == list(range(len(sizes)))


@given(st.lists(st.lists(st.integers(5, 99), min_size=1, max_size=20), min_size=1, max_size=12))
def test_padding_gives_the_tokens_back(tokens):
    rows = Rows.of(tokens, list(range(len(tokens))))
    batch = padded(rows, np.arange(len(tokens))[::-1], pad=0, limit=20)
    assert batch.ids.shape == batch.mask.shape
    assert batch.ids.shape[1] <= 20
    for ids, mask, label in zip(batch.ids, batch.mask, batch.labels, strict=True):
        assert ids[mask.bool()].tolist() == tokens[int(label)]
        assert not ids[~mask.bool()].any()
