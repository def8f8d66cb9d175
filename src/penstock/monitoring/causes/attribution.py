"""Which part of the traffic a change of a mean comes from.

For a part S with share w and mean m, and the rest R, before (0) and during (1) the change, exactly

    M1 - M0 = (mR1 - mR0)  +  wS1 [(mS1 - mS0) - (mR1 - mR0)]  +  (wS1 - wS0)(mS0 - mR0)
              the rest's       what S changed beyond the rest      what S's share changed (mix)

(after Kitagawa 1955, "Components of a difference between two rates", JASA 50). A part is claimed as a cause when its own term differs from
0 beyond chance, on the scale of differences and on that of ratios, so that a change which merely multiplies everything is no part's fault;
over all parts that were looked at, wrong claims are held to `false_claims` (Bonferroni). The strongest is taken, its requests are set
aside, and what is left is looked at again.

Not covered: combinations of parts none of which stands out alone; requests that are not independent (a burst of one client counts as many).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from penstock.monitoring.causes.columns import Period, Split, splits

LEAST = 5  # requests of a part without which nothing is said of it
LEAST_SHARE = 0.1  # of the change, below which a part is not worth telling
MOST = 5  # causes
SAME = 0.8  # overlap from which on two parts are the same requests
UNSURE = 2.5  # standard errors that the ratio of two earlier means may be off
REFINED = 0.75  # of a part's own change that a part of it must hold to be named instead


@dataclass(frozen=True, slots=True)
class Cause:
    """`where`: kinds and values that its requests have in common. `kind`: rate (they fare otherwise than before), mix (there are more or
    fewer of them), new (there were none before). `share`: of the change that would be gone without it. Means and shares of requests inside
    and outside, before and during. `same_as`: other parts that are nearly the same requests, so nothing can tell them apart.
    """

    where: tuple[tuple[str, str], ...]
    kind: Literal["rate", "mix", "new"]
    share: float
    p: float
    inside: tuple[float | None, float]
    outside: tuple[float | None, float]
    traffic: tuple[float, float]
    count: int
    same_as: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """`before` and `during`: the means. `p`: that they differ by chance. `causes`: strongest first; none with a real change: it is alike
    everywhere, as far as these parts can tell. `tested`: how many parts were looked at.
    """

    before: float
    during: float
    count: tuple[int, int]
    p: float
    changed: bool
    causes: tuple[Cause, ...] = ()
    tested: int = 0


@dataclass(frozen=True, slots=True)
class Cell:
    """Requests of one part in one period: how many, their mean, and the variance of one."""

    n: float
    mean: float
    variance: float

    @property
    def of_mean(self) -> float:
        return self.variance / self.n if self.n else math.inf


def attribute(before: Period, during: Period, *, false_claims: float = 0.01) -> Explanation:
    """Explains the change of the mean outcome between two periods. Outcomes that are all 0 or 1 are taken as shares."""
    import numpy as np

    y0, y1 = np.asarray(before.outcome, dtype=float), np.asarray(during.outcome, dtype=float)
    shares = bool(np.isin(y0, (0.0, 1.0)).all() and np.isin(y1, (0.0, 1.0)).all())
    work = _Work(y0, y1, splits(before, during), shares, false_claims)
    whole = work.whole()
    p = two_sided(_z(whole[1].mean - whole[0].mean, whole[0].of_mean + whole[1].of_mean)) if len(y0) and len(y1) else 1.0
    found = Explanation(whole[0].mean, whole[1].mean, (len(y0), len(y1)), p, p < false_claims)
    if not found.changed:
        return found
    causes, tested = work.search(whole[1].mean - whole[0].mean)
    return replace(found, causes=tuple(causes), tested=tested)


@dataclass(frozen=True, slots=True)
class _Part:
    """A candidate: which split, which code (of an ordered split: everything from that code on), or the complement of that."""

    split: int
    code: int
    rest: bool = False


@dataclass(frozen=True, slots=True)
class _Claim:
    part: _Part
    kind: Literal["rate", "mix", "new"]
    p: float
    z: float
    term: float
    inside: tuple[Cell, Cell]
    outside: tuple[Cell, Cell]


@dataclass(slots=True)
class _Work:
    y0: Any
    y1: Any
    splits: list[Split]
    shares: bool
    false_claims: float

    def whole(self) -> tuple[Cell, Cell]:
        return self._cell(len(self.y0), self.y0.sum(), (self.y0**2).sum()), self._cell(len(self.y1), self.y1.sum(), (self.y1**2).sum())

    def search(self, change: float) -> tuple[list[Cause], int]:
        """Causes of `change`, taken one by one; and how many parts were tested at first."""
        import numpy as np

        keep0, keep1 = np.ones(len(self.y0), bool), np.ones(len(self.y1), bool)
        total, causes, tested = (len(self.y0), len(self.y1)), list[Cause](), 0
        while len(causes) < MOST:
            claims = list(self._claims(keep0, keep1))
            tested = tested or len(claims)
            best = self._best(claims, change * total[1] / max(1, keep1.sum()))
            if best is None:
                break
            cause, in0, in1 = self._told(best, keep0, keep1, change, total)
            causes.append(cause)
            keep0, keep1 = keep0 & ~in0, keep1 & ~in1
            left = [self._of(self.y0[keep0]), self._of(self.y1[keep1])]
            if min(cell.n for cell in left) < LEAST:
                break
            if two_sided(_z(left[1].mean - left[0].mean, left[0].of_mean + left[1].of_mean)) > self.false_claims:
                break
        return sorted(causes, key=lambda cause: -cause.share), tested

    def _best(self, claims: Sequence[_Claim], change: float) -> _Claim | None:
        """The strongest that is beyond chance among all that were tested, and worth telling; of two that are as strong the smaller."""
        allowed = self.false_claims / max(1, len(claims))
        sound = [one for one in claims if one.p <= allowed and one.term * change > 0 and abs(one.term) >= LEAST_SHARE * abs(change)]
        return max(sound, key=lambda one: (one.z, -one.inside[1].n), default=None)

    def _told(self, claim: _Claim, keep0: Any, keep1: Any, change: float, total: tuple[int, int]) -> tuple[Cause, Any, Any]:
        """The cause in words of its requests, narrowed to a part of it where that holds nearly all of it; and which requests those are."""
        in0, in1 = self._members(claim.part, keep0, keep1)
        where = [self._name(claim.part)]
        narrower = None if claim.kind == "mix" else self._narrower(claim, in0, in1)
        if narrower is not None:
            claim, in0, in1 = narrower
            where.append(self._name(claim.part))
        inside, outside = self._both(in0, in1, keep0 & ~in0, keep1 & ~in1)
        weight = inside[1].n / max(1, inside[1].n + outside[1].n)
        term = claim.term if narrower is None else weight * ((inside[1].mean - inside[0].mean) - (outside[1].mean - outside[0].mean))
        if claim.kind == "new" and narrower is not None:
            term = weight * (inside[1].mean - outside[1].mean)
        part_of_all = keep1.sum() / total[1]
        cause = Cause(
            tuple(where),
            claim.kind,
            float(term * part_of_all / change),
            claim.p,
            (_mean(inside[0]), inside[1].mean),
            (_mean(outside[0]), outside[1].mean),
            (inside[0].n / total[0], inside[1].n / total[1]),
            int(inside[1].n),
            tuple(self._same(claim.part, in1, keep1)) if narrower is None else (),
        )
        return cause, in0, in1

    def _narrower(self, claim: _Claim, in0: Any, in1: Any) -> tuple[_Claim, Any, Any] | None:
        """A part of the part that holds nearly all of its change, beyond chance."""
        inside = claim.inside
        own = inside[1].mean - (inside[0].mean if claim.kind == "rate" else claim.outside[1].mean)
        # Of the rest of a part there are few requests, too few for ratios; that something is wrong with the part is settled by now.
        claims = [one for one in self._claims(in0, in1, ratios=False) if one.part.split != claim.part.split and one.kind != "mix"]
        best = self._best(claims, own)
        if best is None or abs(best.term) < REFINED * abs(own) or best.inside[1].n > 0.9 * inside[1].n:
            return None
        return best, *self._members(best.part, in0, in1)

    def _same(self, part: _Part, in1: Any, keep1: Any) -> Iterator[tuple[str, str]]:
        """Other parts that hold nearly the same requests during the change."""
        for number, split in enumerate(self.splits):
            if number == part.split or split.ordered:
                continue
            for code in range(len(split.names)):
                members = (split.during == code) & keep1
                both = (members & in1).sum()
                if both and both / (members | in1).sum() >= SAME:
                    yield split.kind, split.names[code]

    def _claims(self, keep0: Any, keep1: Any, *, ratios: bool = True) -> Iterator[_Claim]:
        """Every part with the test of its rate and of its share; those with too few requests are left out."""
        for number, split in enumerate(self.splits):
            cells0, cells1 = self._cells(split, self.y0, split.before, keep0), self._cells(split, self.y1, split.during, keep1)
            both = split.halves  # each is the other's rest: one test, told of the one that changed
            codes = range(1 if split.ordered else 0, 1 if both else len(split.names))
            for code in codes:
                inside, outside = (cells0[0][code], cells1[0][code]), (cells0[1][code], cells1[1][code])
                part = _Part(number, code)
                if (both or split.ordered) and abs(_own(outside)) > abs(_own(inside)):
                    part, inside, outside = replace(part, rest=True), outside, inside
                yield from _tested(part, inside, outside, ratios)

    def _cells(self, split: Split, y: Any, codes: Any, keep: Any) -> tuple[list[Cell], list[Cell]]:
        """By code: the part's cell and the rest's."""
        import numpy as np

        chosen = keep & (codes >= 0)
        size = len(split.names)
        sums = [np.bincount(codes[chosen], weights=w[chosen], minlength=size) for w in (np.ones(len(y)), y, y * y)]
        if split.ordered:
            sums = [part[::-1].cumsum()[::-1] for part in sums]
            whole = [part[0] for part in sums]
        else:
            whole = [keep.sum(), y[keep].sum(), (y[keep] ** 2).sum()]
        inside = [self._cell(*(part[code] for part in sums)) for code in range(size)]
        outside = [self._cell(*(w - part[code] for w, part in zip(whole, sums, strict=True))) for code in range(size)]
        return inside, outside

    def _members(self, part: _Part, keep0: Any, keep1: Any) -> tuple[Any, Any]:
        split = self.splits[part.split]
        found = []
        for codes, keep in ((split.before, keep0), (split.during, keep1)):
            inside = codes >= part.code if split.ordered else codes == part.code
            found.append(keep & ((codes >= 0) & ~inside if part.rest and split.ordered else ~inside if part.rest else inside))
        return found[0], found[1]

    def _name(self, part: _Part) -> tuple[str, str]:
        split = self.splits[part.split]
        if split.ordered:
            name = split.names[part.code]
            return split.kind, name.replace(">", "≤") if part.rest else name
        return split.kind, split.names[1 - part.code] if part.rest else split.names[part.code]

    def _both(self, in0: Any, in1: Any, out0: Any, out1: Any) -> tuple[tuple[Cell, Cell], tuple[Cell, Cell]]:
        return (self._of(self.y0[in0]), self._of(self.y1[in1])), (self._of(self.y0[out0]), self._of(self.y1[out1]))

    def _of(self, y: Any) -> Cell:
        return self._cell(len(y), y.sum(), (y * y).sum())

    def _cell(self, n: float, total: float, squares: float) -> Cell:
        if n < 1:
            return Cell(0.0, math.nan, math.inf)
        mean = float(total) / float(n)
        if self.shares:
            smooth = (float(total) + 1) / (float(n) + 2)  # Agresti and Caffo 2000: no part is ever believed to be surely 0 or 1
            return Cell(float(n), mean, smooth * (1 - smooth))
        return Cell(float(n), mean, max(float(squares) / float(n) - mean * mean, 0.0) * n / max(1.0, n - 1) + 1e-12)


def _own(cells: tuple[Cell, Cell]) -> float:
    """How much a part changed; a part that was not there before did."""
    return cells[1].mean - cells[0].mean if cells[0].n and cells[1].n else 0.0


def _mean(cell: Cell) -> float | None:
    return cell.mean if cell.n else None


def _tested(part: _Part, inside: tuple[Cell, Cell], outside: tuple[Cell, Cell], ratios: bool) -> Iterator[_Claim]:
    if min(inside[1].n, outside[1].n) < LEAST or outside[0].n < LEAST:
        return
    if inside[0].n < LEAST:
        z = _level(inside[1], outside[1])
        weight = inside[1].n / (inside[1].n + outside[1].n)
        yield _Claim(part, "new", two_sided(z), z, weight * (inside[1].mean - outside[1].mean), inside, outside)
        return
    weight0, weight1 = (inside[n].n / (inside[n].n + outside[n].n) for n in (0, 1))
    beyond = (inside[1].mean - inside[0].mean) - (outside[1].mean - outside[0].mean)
    spread = sum(cell.of_mean for cell in (*inside, *outside))
    z = min(abs(_z(beyond, spread)), _multiplied(inside, outside)) if ratios else abs(_z(beyond, spread))
    yield _Claim(part, "rate", two_sided(z), z, weight1 * beyond, inside, outside)
    moved = abs(_z(weight1 - weight0, sum(w * (1 - w) / (inside[n].n + outside[n].n) for n, w in enumerate((weight0, weight1)))))
    z = min(moved, _level(inside[0], outside[0]))
    yield _Claim(part, "mix", two_sided(z), z, (weight1 - weight0) * (inside[0].mean - outside[0].mean), inside, outside)


def _level(one: Cell, other: Cell) -> float:
    """How far two means are apart, in standard errors."""
    return abs(_z(one.mean - other.mean, one.of_mean + other.of_mean))


def _multiplied(inside: tuple[Cell, Cell], outside: tuple[Cell, Cell]) -> float:
    """How far the part is from what it would be if both had been multiplied alike, in standard errors.

    How many times the rest's mean the part's was before is known only so well: of what it may have been, what explains most is taken.
    """
    middle, spread = _times(inside[0], outside[0])
    above = inside[1].mean > middle * outside[1].mean
    times = middle * math.exp(UNSURE * spread if above else -UNSURE * spread)
    beyond = inside[1].mean - times * outside[1].mean
    return abs(_z(beyond, inside[1].of_mean + times**2 * outside[1].of_mean)) if (beyond > 0) == above else 0.0


def _times(part: Cell, rest: Cell) -> tuple[float, float]:
    """The ratio of two means and the standard error of its logarithm. One event at the common rate is added to each: a part of which little
    was seen is taken to be like the rest.
    """
    like = rest if rest.mean > 0 else part
    size = like.variance / like.mean if like.mean > 0 else 1.0  # of an event: 1 - share for shares, larger for amounts
    totals = [max(cell.mean * cell.n, 0.0) + size for cell in (part, rest)]
    common = sum(totals) / (part.n + rest.n)
    means = [total / (cell.n + size / common) for total, cell in zip(totals, (part, rest), strict=True)]
    return means[0] / means[1], math.sqrt(sum(size / total for total in totals))


def _z(difference: float, variance: float) -> float:
    if not math.isfinite(difference) or not math.isfinite(variance) or variance <= 0:
        return 0.0
    return difference / math.sqrt(variance)


def two_sided(z: float) -> float:
    return math.erfc(abs(z) / math.sqrt(2))
