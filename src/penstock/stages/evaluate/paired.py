"""Paired tests: is the challenger worse, or better, than the champion on the same rows?

Rows are joined by id, so what both models find easy or hard cancels. Accuracy: Tango's score interval for the difference of
paired proportions (Statistics in Medicine 1998) and McNemar's exact test. Other metrics: the paired bootstrap over rows.
`low` and `high` are one-sided bounds: each holds with the declared confidence, so a wrong pass happens at most in 1 - confidence
of all cases. Not covered: corrections for testing many challengers on one test set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING

from penstock.core.errors import BadInput
from penstock.spec.gates import PAIRED_METRICS, ChampionTest
from penstock.stages.evaluate.intervals import cell_counts, resampled_sums
from penstock.stages.evaluate.scores import calibration_columns, calibration_error, label_scores

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

RESAMPLES = 2000
LOWER_IS_BETTER = ("calibration.ece", "perplexity", "nats_per_character", "bits_per_character")


@dataclass(frozen=True, slots=True)
class Paired:
    """`difference` is challenger minus champion in the metric's unit; `low` and `high` are its one-sided bounds.

    `p_value` is the chance of evidence this good were the challenger exactly at the edge of failing; `mcnemar_p` is McNemar's
    exact two-sided test of no difference at all (accuracy only).
    """

    metric: str
    champion: float
    challenger: float
    difference: float
    low: float
    high: float
    p_value: float
    passed: bool
    rows: int
    reason: str
    mcnemar_p: float | None = None


@dataclass(frozen=True, slots=True)
class _Bounds:
    """What a method found, before it is judged: values of both, bounds of the difference, and p at a given shift."""

    champion: float
    challenger: float
    low: float
    high: float
    p_value: float
    mcnemar_p: float | None = None


def compare(champion: Path, challenger: Path, test: ChampionTest) -> Paired:
    """Tests two `predictions.parquet` files. Raises BadInput when they are not over the same rows or lack what the metric needs.

    A metric of a named source, such as `new.accuracy`, is tested on the rows of that source.
    """
    table = _joined(champion, challenger)
    source, metric = of_source(test.metric)
    if source:
        table = _rows_of(table, source)
        test = replace(test, metric=metric)
    found = _tested(table, test)
    return replace(found, metric=f"{source}.{metric}", reason=f"{source}.{found.reason}") if source else found


def of_source(metric: str) -> tuple[str, str]:
    """`new.accuracy` → (`new`, `accuracy`); the source is empty for a metric of all rows."""
    known = next((name for name in PAIRED_METRICS if metric == name or metric.endswith(f".{name}")), metric)
    return metric.removesuffix(known).removesuffix("."), known


def _rows_of(table: pl.DataFrame, source: str) -> pl.DataFrame:
    known = sorted(set(table["source"].to_list())) if "source" in table.columns else []
    if source not in known:
        raise BadInput(f"no evaluated row is from a source called {source!r} (there are: {', '.join(known) or 'none with a name'})")
    return table.filter(table["source"] == source)


def _tested(table: pl.DataFrame, test: ChampionTest) -> Paired:
    needed = ("nats",) if test.metric in ("perplexity", "nats_per_character", "bits_per_character") else ("prediction",)
    if missing := [name for name in needed if name not in table.columns]:
        raise BadInput(f"{test.metric} cannot be compared: the predictions have no column {missing[0]!r}")
    same = _identical(table)
    if test.metric in ("accuracy", "micro_f1"):
        bounds = _accuracy(table["correct"].to_numpy(), table["correct_challenger"].to_numpy(), test)
    else:
        bounds = _bootstrap(table, test)
    return _judged(bounds, test, table.height, same)


def _joined(champion: Path, challenger: Path) -> pl.DataFrame:
    """One row an id: the champion's columns, and the challenger's with the ending `_challenger`."""
    import polars as pl

    first, second = pl.read_parquet(champion), pl.read_parquet(challenger)
    for who, frame in (("champion", first), ("challenger", second)):
        if frame.height == 0:
            raise BadInput(f"the {who}'s predictions have no rows")
        if frame["id"].n_unique() != frame.height:
            raise BadInput(f"the {who}'s predictions hold some ids twice, so rows cannot be paired")
    table = first.join(second, on="id", how="inner", suffix="_challenger").sort("id")
    if table.height != first.height or table.height != second.height:
        raise BadInput(
            f"not the same rows: the champion has {first.height:,}, the challenger {second.height:,}, and {table.height:,} ids are in both",
            remedy="Evaluate both versions on the same dataset; the plan does so by an extra evaluate step for the champion.",
        )
    fixed = "label" if "label" in first.columns else "characters"
    if fixed in table.columns and f"{fixed}_challenger" in table.columns:
        differing = int((table[fixed] != table[f"{fixed}_challenger"]).sum())
        if differing:
            raise BadInput(f"not the same rows: {differing:,} of {table.height:,} rows have another {fixed} for the challenger")
    return table


def _identical(table: pl.DataFrame) -> bool:
    """Whether both gave the same numbers on every row, to the last digit: then they are the same model for this purpose."""
    pairs = [name for name in table.columns if f"{name}_challenger" in table.columns]
    return bool(pairs) and all(bool((table[name] == table[f"{name}_challenger"]).all()) for name in pairs)


def _accuracy(champion: NDArray[np.bool_], challenger: NDArray[np.bool_], test: ChampionTest) -> _Bounds:
    gained, lost = int((challenger & ~champion).sum()), int((champion & ~challenger).sum())
    rows, alpha = len(champion), 1 - test.confidence
    exact = test.kind == "better_than" and test.margin == 0
    p_value = _mcnemar(gained, lost, "greater") if exact else _upper_tail(tango_score(gained, lost, rows, _edge(test)))
    low, high = tango_bounds(gained, lost, rows, alpha)
    return _Bounds(float(champion.mean()), float(challenger.mean()), low, high, p_value, _mcnemar(gained, lost, "two-sided"))


def tango_score(gained: int, lost: int, rows: int, shift: float) -> float:
    """Tango's score statistic for H0: difference = `shift`; standard normal under H0. `gained`, `lost`: rows only one got right."""
    spread = 2.0 * rows
    middle = -gained - lost + (2 * rows - gained + lost) * shift
    product = -lost * shift * (1 - shift)
    lost_share = (math.sqrt(max(0.0, middle * middle - 4 * spread * product)) - middle) / (2 * spread)
    variance = rows * (2 * lost_share + shift * (1 - shift))
    distance = gained - lost - rows * shift
    if variance <= 1e-12:
        return 0.0 if abs(distance) < 1e-9 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def tango_bounds(gained: int, lost: int, rows: int, alpha: float) -> tuple[float, float]:
    """One-sided bounds of the paired difference at level `alpha` each, by bisection on the score statistic, which falls with the shift."""
    z = NormalDist().inv_cdf(1 - alpha)
    observed = (gained - lost) / rows
    return _crossing(gained, lost, rows, z, -1.0, observed), _crossing(gained, lost, rows, -z, observed, 1.0)


def _crossing(gained: int, lost: int, rows: int, target: float, left: float, right: float) -> float:
    for _ in range(60):
        middle = (left + right) / 2
        if tango_score(gained, lost, rows, middle) > target:
            left = middle
        else:
            right = middle
    return (left + right) / 2


def _mcnemar(gained: int, lost: int, alternative: str) -> float:
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost, 0.5, alternative=alternative).pvalue) if gained + lost else 1.0


def _bootstrap(table: pl.DataFrame, test: ChampionTest) -> _Bounds:
    """Paired bootstrap: both models' metric on the same resamples; the first row of `values` is as observed."""
    import numpy as np

    champion, challenger = _METHODS.get(test.metric, _label_values)(table, test.metric)
    differences = (challenger - champion)[1:]
    alpha = 1 - test.confidence
    low, high = np.quantile(differences, [alpha, test.confidence])
    gains = -differences if test.metric in LOWER_IS_BETTER else differences
    p_value = (1 + int((gains <= _edge(test)).sum())) / (1 + len(gains))
    return _Bounds(float(champion[0]), float(challenger[0]), float(low), float(high), p_value)


def _label_values(table: pl.DataFrame, metric: str) -> tuple[Floats, Floats]:
    import numpy as np

    label, first, second = (table[name].to_numpy().astype(np.int64) for name in ("label", "prediction", "prediction_challenger"))
    classes = int(max(label.max(), first.max(), second.max())) + 1
    cells, counts = cell_counts((label * classes + first) * classes + second, RESAMPLES)
    labels, firsts, seconds = cells // classes**2, cells // classes % classes, cells % classes
    return label_scores(labels, firsts, counts, classes)[metric], label_scores(labels, seconds, counts, classes)[metric]


def _calibration_values(table: pl.DataFrame, metric: str) -> tuple[Floats, Floats]:  # noqa: ARG001  # one signature for every method
    import numpy as np

    halves = [
        calibration_columns(table[f"confidence{end}"].to_numpy().astype(np.float64), table[f"correct{end}"].to_numpy().astype(np.float64))
        for end in ("", "_challenger")
    ]
    columns = np.hstack(halves)
    sums = np.vstack([columns.sum(axis=0), resampled_sums(columns, RESAMPLES)])
    width = halves[0].shape[1]
    return calibration_error(sums[:, :width], table.height), calibration_error(sums[:, width:], table.height)


def _likelihood_values(table: pl.DataFrame, metric: str) -> tuple[Floats, Floats]:
    import numpy as np

    below = "tokens" if metric == "perplexity" else "characters"
    names = ("nats", "nats_challenger", below, f"{below}_challenger")
    columns = np.stack([table[name].to_numpy().astype(np.float64) for name in names], axis=1)
    sums = np.vstack([columns.sum(axis=0), resampled_sums(columns, RESAMPLES)])
    champion, challenger = sums[:, 0] / sums[:, 2], sums[:, 1] / sums[:, 3]
    if metric == "perplexity":
        return np.exp(champion), np.exp(challenger)
    scale = math.log(2) if metric == "bits_per_character" else 1.0
    return champion / scale, challenger / scale


_METHODS: Mapping[str, Callable[[pl.DataFrame, str], tuple[Floats, Floats]]] = {
    "calibration.ece": _calibration_values,
    "perplexity": _likelihood_values,
    "nats_per_character": _likelihood_values,
    "bits_per_character": _likelihood_values,
}


def _edge(test: ChampionTest) -> float:
    """The gain over the champion that must be exceeded."""
    return test.margin if test.kind == "better_than" else -test.margin


def _upper_tail(score: float) -> float:
    return 1 - NormalDist().cdf(score) if math.isfinite(score) else float(score < 0)


def _judged(found: _Bounds, test: ChampionTest, rows: int, same: bool) -> Paired:
    flipped = test.metric in LOWER_IS_BETTER
    worst_gain = -found.high if flipped else found.low
    same = same and test.kind == "not_worse_than"
    passed = same or (worst_gain > _edge(test) and found.p_value <= 1 - test.confidence)
    difference = found.challenger - found.champion
    bound = found.high if flipped else found.low
    what = f"{test.metric} {found.challenger:.4f} against the champion's {found.champion:.4f} on {rows:,} shared rows"
    sure = f"the difference {difference:+.4f} is with {test.confidence:.0%} confidence {'at most' if flipped else 'at least'} {bound:+.4f}"
    limit = test.margin if (test.kind == "better_than") != flipped else -test.margin
    must = f"{'below' if flipped else 'above'} {limit:+.4f}" if limit else ("below 0" if flipped else "above 0")
    verdict = f"{'which is' if passed else 'but must be'} {must}"
    gain = -difference if flipped else difference
    verdict += "" if passed or gain <= _edge(test) else "; on so few rows this margin cannot be told from chance"
    told = "both gave the same numbers on every row, so it is not worse" if same else f"{sure}, {verdict}"
    return Paired(
        test.metric,
        found.champion,
        found.challenger,
        difference,
        found.low,
        found.high,
        found.p_value,
        passed,
        rows,
        f"{what}: {told}",
        found.mcnemar_p,
    )
