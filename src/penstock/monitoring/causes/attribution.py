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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from penstock.monitoring.causes.cells import Cell, cell_of, score, two_sided
from penstock.monitoring.causes.claims import LEAST, Claim, Part, tested
from penstock.monitoring.causes.columns import Period, Split, splits

LEAST_SHARE = 0.1  # of the change, below which a part is not worth telling
MOST = 5  # causes
SAME = 0.8  # overlap from which on two parts are the same requests
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


def attribute(before: Period, during: Period, *, false_claims: float = 0.01) -> Explanation:
    """Explains the change of the mean outcome between two periods. Outcomes that are all 0 or 1 are taken as shares."""
    import numpy as np

    y0, y1 = np.asarray(before.outcome, dtype=float), np.asarray(during.outcome, dtype=float)
    shares = bool(np.isin(y0, (0.0, 1.0)).all() and np.isin(y1, (0.0, 1.0)).all())
    work = _Work(y0, y1, splits(before, during), shares, false_claims)
    whole = work.whole()
    p = two_sided(score(whole[1].mean - whole[0].mean, whole[0].of_mean + whole[1].of_mean)) if len(y0) and len(y1) else 1.0
    found = Explanation(whole[0].mean, whole[1].mean, (len(y0), len(y1)), p, p < false_claims)
    if not found.changed:
        return found
    causes, tested = work.search(whole[1].mean - whole[0].mean)
    return replace(found, causes=tuple(causes), tested=tested)


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
            if two_sided(score(left[1].mean - left[0].mean, left[0].of_mean + left[1].of_mean)) > self.false_claims:
                break
        return sorted(causes, key=lambda cause: -cause.share), tested

    def _best(self, claims: Sequence[Claim], change: float) -> Claim | None:
        """The strongest that is beyond chance among all that were tested, and worth telling; of two that are as strong the smaller."""
        allowed = self.false_claims / max(1, len(claims))
        sound = [one for one in claims if one.p <= allowed and one.term * change > 0 and abs(one.term) >= LEAST_SHARE * abs(change)]
        return max(sound, key=lambda one: (one.z, -one.inside[1].n), default=None)

    def _told(self, claim: Claim, keep0: Any, keep1: Any, change: float, total: tuple[int, int]) -> tuple[Cause, Any, Any]:
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

    def _narrower(self, claim: Claim, in0: Any, in1: Any) -> tuple[Claim, Any, Any] | None:
        """A part of the part that holds nearly all of its change, beyond chance."""
        inside = claim.inside
        own = inside[1].mean - (inside[0].mean if claim.kind == "rate" else claim.outside[1].mean)
        # Of the rest of a part there are few requests, too few for ratios; that something is wrong with the part is settled by now.
        claims = [one for one in self._claims(in0, in1, ratios=False) if one.part.split != claim.part.split and one.kind != "mix"]
        best = self._best(claims, own)
        if best is None or abs(best.term) < REFINED * abs(own) or best.inside[1].n > 0.9 * inside[1].n:
            return None
        return best, *self._members(best.part, in0, in1)

    def _same(self, part: Part, in1: Any, keep1: Any) -> Iterator[tuple[str, str]]:
        """Other parts that hold nearly the same requests during the change."""
        for number, split in enumerate(self.splits):
            if number == part.split or split.ordered:
                continue
            for code in range(len(split.names)):
                members = (split.during == code) & keep1
                both = (members & in1).sum()
                if both and both / (members | in1).sum() >= SAME:
                    yield split.kind, split.names[code]

    def _claims(self, keep0: Any, keep1: Any, *, ratios: bool = True) -> Iterator[Claim]:
        """Every part with the test of its rate and of its share; those with too few requests are left out."""
        for number, split in enumerate(self.splits):
            cells0, cells1 = self._cells(split, self.y0, split.before, keep0), self._cells(split, self.y1, split.during, keep1)
            both = split.halves  # each is the other's rest: one test, told of the one that changed
            codes = range(1 if split.ordered else 0, 1 if both else len(split.names))
            for code in codes:
                inside, outside = (cells0[0][code], cells1[0][code]), (cells0[1][code], cells1[1][code])
                part = Part(number, code)
                if (both or split.ordered) and abs(_own(outside)) > abs(_own(inside)):
                    part, inside, outside = replace(part, rest=True), outside, inside
                yield from tested(part, inside, outside, ratios=ratios)

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

    def _members(self, part: Part, keep0: Any, keep1: Any) -> tuple[Any, Any]:
        split = self.splits[part.split]
        found = []
        for codes, keep in ((split.before, keep0), (split.during, keep1)):
            inside = codes >= part.code if split.ordered else codes == part.code
            found.append(keep & ((codes >= 0) & ~inside if part.rest and split.ordered else ~inside if part.rest else inside))
        return found[0], found[1]

    def _name(self, part: Part) -> tuple[str, str]:
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
        return cell_of(n, total, squares, shares=self.shares)


def _own(cells: tuple[Cell, Cell]) -> float:
    """How much a part changed; a part that was not there before did."""
    return cells[1].mean - cells[0].mean if cells[0].n and cells[1].n else 0.0


def _mean(cell: Cell) -> float | None:
    return cell.mean if cell.n else None
