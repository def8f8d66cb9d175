import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score, log_loss, precision_score, recall_score

from penstock.engines.contract import Scored
from penstock.stages.evaluate import classification, likelihood
from penstock.stages.evaluate.classification import Answers
from penstock.stages.evaluate.intervals import cell_counts, resampled_sums, wilson


@pytest.mark.parametrize(("right", "rows"), [(0, 10), (10, 10), (1, 3), (2847, 3080), (5, 1000)])
def test_wilson_agrees_with_scipy(right, rows):
    expected = binomtest(right, rows).proportion_ci(0.95, method="wilson")
    found = wilson(right, rows, 0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def answers(rows=400, classes=6, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    probabilities = rng.dirichlet(np.ones(classes), rows) + 0.8 * np.eye(classes)[labels] * rng.random((rows, 1))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return Answers([f"{i:04}" for i in range(rows)], labels, probabilities.round(6), [f"c{i}" for i in range(classes)])


def test_metrics_agree_with_scikit_learn():
    some = answers()
    found = classification.metrics_of(some, 200, 0.95)
    truth, guess = some.labels, some.predictions
    expected = {
        "accuracy": (truth == guess).mean(),
        "precision": precision_score(truth, guess, average="macro", zero_division=0),
        "recall": recall_score(truth, guess, average="macro", zero_division=0),
        "macro_f1": f1_score(truth, guess, average="macro"),
        "micro_f1": f1_score(truth, guess, average="micro"),
        "weighted_f1": f1_score(truth, guess, average="weighted"),
        "calibration.nll": log_loss(truth, some.probabilities / some.probabilities.sum(axis=1, keepdims=True)),
        "calibration.brier": ((some.probabilities - np.eye(6)[truth]) ** 2).sum(axis=1).mean(),
    }
    assert {name: found[name].value for name in expected} == pytest.approx(expected, abs=1e-5)
    assert all(i.low <= i.value <= i.high for i in found.values())
    assert all(i.low < i.high for i in found.values())


def test_calibration_error_is_the_gap_of_confidence_and_accuracy():
    rows = 1000
    probabilities = np.tile([0.8, 0.2], (rows, 1))
    labels = np.array([0] * 600 + [1] * 400)
    found = classification.metrics_of(Answers([str(i) for i in range(rows)], labels, probabilities, ["a", "b"]), 200, 0.95)
    assert found["calibration.ece"].value == pytest.approx(0.2)


def test_a_class_that_never_occurs_does_not_lower_the_macro_average():
    some = answers()
    more = Answers(some.ids, some.labels, np.hstack([some.probabilities, np.zeros((400, 3))]), [*some.names, "x", "y", "z"])
    found, expected = (classification.metrics_of(each, 100, 0.9)["macro_f1"] for each in (more, some))
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_bootstrap_of_cells_and_of_rows_agree():
    """Two ways to draw the same distribution: standard errors within sampling error of each other."""
    cells = np.repeat([0, 1, 2], [50, 30, 20])
    _, counts = cell_counts(cells, 4000)
    sums = resampled_sums(np.eye(3)[cells], 4000)
    assert counts[0].tolist() == [50, 30, 20]
    assert counts[1:].std(axis=0) == pytest.approx(sums.std(axis=0), rel=0.08)
    assert sums.std(axis=0) == pytest.approx([math.sqrt(100 * p * (1 - p)) for p in (0.5, 0.3, 0.2)], rel=0.08)


def test_bootstrap_intervals_cover_the_truth_about_as_often_as_declared():
    """Macro F1 of a known two-class process, 300 rows: nominal 90 %."""
    hits, trials = 0, 100
    chance = np.array([[0.4, 0.1], [0.15, 0.35]])  # label × prediction
    right, rows, columns = np.diag(chance), chance.sum(axis=1), chance.sum(axis=0)
    truth_f1 = float((2 * right / (rows + columns)).mean())
    rng = np.random.default_rng(5)
    for _ in range(trials):
        cells = rng.choice(4, 300, p=chance.ravel())
        probabilities = np.where((cells % 2 == 0)[:, None], [0.7, 0.3], [0.3, 0.7])
        found = classification.metrics_of(Answers([""] * 300, cells // 2, probabilities, ["a", "b"]), 200, 0.9)["macro_f1"]
        hits += found.low <= truth_f1 <= found.high
    assert 0.82 <= hits / trials <= 0.97


def test_coverage_rises_to_all_rows_and_ends_at_the_accuracy():
    some = answers()
    curve = classification.coverage(some)
    assert curve[-1] == (1.0, pytest.approx(some.correct.mean()))
    assert [share for share, _ in curve] == sorted(share for share, _ in curve)


def test_confusion_and_reliability_account_for_every_row():
    some = answers()
    confusion = classification.confusion(some)
    assert np.sum(confusion["matrix"]) == 400
    assert sum(pair["rows"] for pair in confusion["most_confused"]) <= 400 - some.correct.sum()
    assert sum(bin["rows"] for bin in classification.reliability(some)) == 400


def test_likelihood_of_a_uniform_model_is_its_alphabet():
    blocks = [Scored(math.log(65) * n, n, n) for n in (100, 50, 80)]
    found = likelihood.metrics_of(blocks, 100, 0.95)
    assert found["perplexity"].value == pytest.approx(65)
    assert found["bits_per_character"].value == pytest.approx(math.log2(65))
    assert found["nats_per_character"].low == pytest.approx(found["nats_per_character"].high)
