import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import BadInput
from penstock.spec.gates import ChampionTest
from penstock.stages.evaluate.paired import compare, tango_bounds, tango_score

counts, kinds = st.integers(0, 40), st.sampled_from(["not_worse_than", "better_than"])


def write(path, label, prediction, confidence=None):
    rows = len(label)
    correct = np.asarray(label) == np.asarray(prediction)
    confidence = np.full(rows, 0.5) if confidence is None else confidence
    pl.DataFrame(
        {"id": [f"{i:05}" for i in range(rows)], "label": label, "prediction": prediction, "confidence": confidence, "correct": correct}
    ).write_parquet(path)
    return path


def by_counts(folder, both, gained, lost, neither):
    """Two files in which the challenger alone is right `gained` times, the champion alone `lost` times."""
    label = [0] * (both + gained + lost + neither)
    champion = [0] * both + [1] * gained + [0] * lost + [1] * neither
    challenger = [0] * both + [0] * gained + [1] * lost + [1] * neither
    noise = np.linspace(0.4, 0.6, len(label))
    return write(folder / "champion.parquet", label, champion), write(folder / "challenger.parquet", label, challenger, noise)


@pytest.mark.parametrize(("gained", "lost", "rows", "shift"), [(1, 0, 44, 0.0), (9, 1, 70, -0.05), (12, 20, 300, 0.1), (0, 0, 50, -0.02)])
def test_the_score_statistic_uses_the_restricted_maximum_likelihood(gained, lost, rows, shift):
    """The nuisance share found by brute force on a fine grid, instead of Tango's closed form."""
    share = np.linspace(max(0.0, -shift), (1 - shift) / 2, 2_000_001)[1:-1]  # of rows only the champion gets right
    likelihood = gained * np.log(share + shift) + lost * np.log(share) + (rows - gained - lost) * np.log1p(-2 * share - shift)
    best = share[np.argmax(likelihood)]
    expected = (gained - lost - rows * shift) / math.sqrt(rows * (2 * best + shift * (1 - shift)))
    assert tango_score(gained, lost, rows, shift) == pytest.approx(expected, abs=1e-2)


@settings(max_examples=150, deadline=None)
@given(counts, counts, st.integers(1, 200))
def test_tango_bounds_hold_the_difference_and_mirror(gained, lost, rest):
    rows = gained + lost + rest
    low, high = tango_bounds(gained, lost, rows, 0.05)
    assert -1 <= low <= (gained - lost) / rows <= high <= 1
    assert tango_bounds(lost, gained, rows, 0.05) == pytest.approx((-high, -low), abs=1e-9)
    wider_low, wider_high = tango_bounds(gained, lost, rows, 0.01)
    assert wider_low <= low + 1e-12
    assert wider_high >= high - 1e-12
    assert tango_score(gained, lost, rows, low) == pytest.approx(1.6449, abs=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 30),
    counts,
    counts,
    st.integers(1, 30),
    st.sampled_from(["not_worse_than", "better_than"]),
    st.sampled_from([0.0, 0.05, 0.3]),
)
def test_a_pass_means_the_bound_is_on_the_right_side(tmp_path_factory, both, gained, lost, neither, kind, margin):
    champion, challenger = by_counts(tmp_path_factory.mktemp("p"), both, gained, lost, neither)
    found = compare(champion, challenger, ChampionTest(kind, "accuracy", margin, 0.95))
    edge = margin if kind == "better_than" else -margin
    assert found.rows == both + gained + lost + neither
    assert found.difference == pytest.approx((gained - lost) / found.rows)
    assert found.low <= found.difference <= found.high
    if found.passed:
        assert found.low > edge
        assert found.p_value <= 0.05
    else:
        assert found.low <= edge + 1e-9 or found.p_value > 0.05
    wider = compare(champion, challenger, ChampionTest(kind, "accuracy", margin + 0.1, 0.95))
    assert (wider.passed >= found.passed) if kind == "not_worse_than" else (wider.passed <= found.passed)


def test_mcnemar_is_the_exact_binomial(tmp_path):
    found = compare(*by_counts(tmp_path, 50, 9, 1, 10), ChampionTest("better_than", "accuracy", 0.0, 0.95))
    assert found.mcnemar_p == pytest.approx(22 / 1024)
    assert found.p_value == pytest.approx(11 / 1024)
    assert found.passed


@pytest.mark.parametrize(("metric", "margin"), [("macro_f1", 0.02), ("weighted_f1", 0.02), ("precision", 0.02), ("calibration.ece", 0.05)])
def test_other_metrics_see_a_clearly_worse_model(tmp_path, metric, margin):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 5, 800)
    good = np.where(rng.random(800) < 0.9, label, rng.integers(0, 5, 800))
    bad = np.where(rng.random(800) < 0.7, label, rng.integers(0, 5, 800))
    sure = np.full(800, 0.9)
    good, bad = write(tmp_path / "good", label, good, sure), write(tmp_path / "bad", label, bad, sure + 1e-4)
    test = ChampionTest("not_worse_than", metric, margin, 0.95)
    assert not compare(good, bad, test).passed
    better = compare(bad, good, test)
    assert better.passed
    assert better.difference == pytest.approx(-compare(good, bad, test).difference)


def test_likelihood_is_compared_on_the_same_blocks(tmp_path):
    rng = np.random.default_rng(1)
    base = pl.DataFrame(
        {"id": [str(i) for i in range(60)], "nats": 150 + rng.normal(0, 20, 60), "tokens": [100] * 60, "characters": [100] * 60}
    )
    base.write_parquet(tmp_path / "champion")
    base.with_columns(pl.col("nats") + 5 + pl.Series(rng.normal(0, 1, 60))).write_parquet(tmp_path / "worse")
    for metric, margin in (("perplexity", 0.05), ("bits_per_character", 0.02), ("nats_per_character", 0.02)):
        found = compare(tmp_path / "champion", tmp_path / "worse", ChampionTest("not_worse_than", metric, margin, 0.95))
        assert not found.passed
        assert found.low <= found.difference <= found.high
        assert compare(tmp_path / "worse", tmp_path / "champion", ChampionTest("better_than", metric, margin, 0.95)).passed
    found = compare(tmp_path / "champion", tmp_path / "worse", ChampionTest("not_worse_than", "bits_per_character", 0.02, 0.95))
    assert found.difference == pytest.approx(0.05 / math.log(2), abs=0.005)


def test_equal_numbers_on_every_row_are_not_worse_even_on_few_rows(tmp_path):
    path = write(tmp_path / "a", [0, 1, 0], [0, 1, 1], [0.9, 0.8, 0.7])
    assert compare(path, path, ChampionTest("not_worse_than", "accuracy", 0.005, 0.95)).passed
    assert not compare(path, path, ChampionTest("better_than", "accuracy", 0.0, 0.95)).passed


def test_rows_that_cannot_be_paired_are_refused(tmp_path):
    test = ChampionTest("not_worse_than", "accuracy", 0.01, 0.95)
    ten, nine = write(tmp_path / "ten", [0] * 10, [0] * 10), write(tmp_path / "nine", [0] * 9, [0] * 9)
    with pytest.raises(BadInput, match="the champion has 10, the challenger 9, and 9 ids are in both"):
        compare(ten, nine, test)
    with pytest.raises(BadInput, match="3 of 10 rows have another label"):
        compare(ten, write(tmp_path / "other", [0] * 7 + [1] * 3, [0] * 10), test)
    pl.read_parquet(ten).with_columns(id=pl.lit("a")).write_parquet(tmp_path / "twice")
    with pytest.raises(BadInput, match="twice"):
        compare(tmp_path / "twice", ten, test)
    with pytest.raises(BadInput, match="no column 'nats'"):
        compare(ten, ten, ChampionTest("not_worse_than", "perplexity", 0.01, 0.95))


@pytest.mark.parametrize("rows", [200, 1000, 3080])
def test_a_challenger_exactly_at_the_margin_passes_no_more_often_than_declared(rows):
    """20,000 draws of a challenger worse by exactly the margin; the share that passes is at most 5 % and a little noise."""
    margin, discordant, trials = 0.03, 0.12, 20_000
    chances = [(discordant - margin) / 2, (discordant + margin) / 2, 1 - discordant]
    draws = np.random.default_rng(rows).multinomial(rows, chances, size=trials)
    kinds, times = np.unique(draws[:, :2], axis=0, return_counts=True)
    passed = sum(n for (g, c), n in zip(kinds.tolist(), times.tolist(), strict=True) if tango_score(g, c, rows, -margin) > 1.6448536)
    assert 0.035 < passed / trials < 0.056


def test_the_bootstrap_passes_a_challenger_at_the_margin_no_more_often_than_declared(tmp_path):
    """Macro F1 of two balanced classes with symmetric errors is the accuracy, so the true difference is known."""
    margin, rows, trials, passed = 0.05, 400, 200, 0
    rng = np.random.default_rng(11)
    for _ in range(trials):
        label = rng.integers(0, 2, rows)
        draw = rng.random(rows)
        champion_right, challenger_right = draw < 0.90, (draw < 0.80) | (draw >= 0.95)
        champion = write(tmp_path / "a", label, np.where(champion_right, label, 1 - label))
        challenger = write(tmp_path / "b", label, np.where(challenger_right, label, 1 - label))
        passed += compare(champion, challenger, ChampionTest("not_worse_than", "macro_f1", margin, 0.95)).passed
    assert passed / trials <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)


def test_a_refusal_for_want_of_rows_says_so(tmp_path):
    equal = compare(*by_counts(tmp_path, 80, 5, 5, 10), ChampionTest("not_worse_than", "accuracy", 0.01, 0.95))
    assert equal.difference == 0
    assert not equal.passed
    assert equal.reason.endswith("on so few rows this margin cannot be told from chance")
    worse = compare(*by_counts(tmp_path, 80, 0, 10, 10), ChampionTest("not_worse_than", "accuracy", 0.01, 0.95))
    assert worse.reason.endswith("but must be above -0.0100")


def test_a_metric_of_a_named_source_is_tested_on_its_rows(tmp_path):
    """The challenger wins on the new rows and loses on the old ones: each gate sees its own."""
    label, source = [0] * 400, ["old"] * 200 + ["new"] * 200
    champion = [0] * 190 + [1] * 10 + [1] * 150 + [0] * 50
    challenger = [0] * 150 + [1] * 50 + [0] * 190 + [1] * 10
    paths = [write(tmp_path / "champion.parquet", label, champion), write(tmp_path / "challenger.parquet", label, challenger)]
    for path in paths:
        pl.read_parquet(path).with_columns(pl.Series("source", source)).write_parquet(path)
    new = compare(*paths, ChampionTest("better_than", "new.accuracy", 0.1, 0.95))
    old = compare(*paths, ChampionTest("not_worse_than", "old.accuracy", 0.05, 0.95))
    assert (new.passed, new.rows, new.champion, new.challenger) == (True, 200, 0.25, 0.95)
    assert (old.passed, old.rows) == (False, 200)
    assert old.reason.startswith("old.accuracy 0.7500 against the champion's 0.9500 on 200 shared rows")
    with pytest.raises(BadInput, match="no evaluated row is from a source called 'fresh'"):
        compare(*paths, ChampionTest("better_than", "fresh.accuracy", 0.1, 0.95))
    assert compare(*paths, ChampionTest("better_than", "macro_f1", 0.0, 0.95)).rows == 400
