"""What a vendor shows of all endpoints of ours, by few calls: a list now and then, and a look at one only where the list says it changed.

A vendor counts calls, and refuses whoever makes many: so what a pass costs must not grow with the endpoints that nobody touched.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from penstock.core.errors import PlatformAway
from penstock.platforms.remote.noted import Noted

SeenT = TypeVar("SeenT")


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. `list_s`: between lists while an endpoint is on its way, for each page of PAGE rows; `calm_s`: while none is; `look_s`:
    after which one that nobody touched is looked at all the same; `gone_s`: for which what was there must be missed before it is gone.
    `slowest_s`: between looks at one on its way whose list row does not tell.
    """

    list_s: float = 1.0
    calm_s: float = 5.0
    look_s: float = 60.0
    gone_s: float = 0.5
    slowest_s: float = 15.0


EAGER = Pace(0.0, 0.0, 0.0, 0.3, 0.0)  # looks at each pass
PAGE = 100


@dataclass(slots=True)
class _Known(Generic[SeenT]):
    """`changed_at`: when we, or the vendor, changed it last; `missed_at`: when it was first not there any more."""

    seen: SeenT | None = None
    looked_at: float = float("-inf")
    changed_at: float = float("-inf")
    missed_at: float | None = None
    touched: bool = False


@dataclass(slots=True)
class Sights(Generic[SeenT]):
    """`list_`: a row of each endpoint by name; `look`: at one, None where there is none; `mark`: the row that goes with what was seen, so
    that another row means another sight. `whole`: a row is a sight. `moving`: on its way to something without its row telling.
    """

    list_: Callable[[], Mapping[str, object]]
    look: Callable[[str], SeenT | None]
    mark: Callable[[SeenT], object]
    moving: Callable[[SeenT], bool] = lambda _: False
    whole: bool = False
    pace: Pace = field(default_factory=Pace)
    clock: Callable[[], float] = time.monotonic
    _rows: Mapping[str, object] = field(default_factory=dict)
    _asked_at: float = float("-inf")
    _listed_at: float = float("-inf")
    _known: dict[str, _Known[SeenT]] = field(default_factory=dict)

    def see(self, name: str, noted: Noted | None) -> SeenT | None:
        """The endpoint as it is or was a moment ago; after `touched` as it is. `noted`: what is remembered of it.

        Raises what the calls do.
        """
        known, now = self._known.setdefault(name, _Known()), self.clock()
        settled = noted is not None and noted.settled
        if known.touched:
            return self._looked(name, known, now)
        pause = (self.pace.calm_s if settled else self.pace.list_s) * (1 + len(self._rows) // PAGE)
        if now - self._asked_at >= pause:
            self._asked_at = now  # also where it is refused: the next endpoint does not ask at once
            self._rows, self._listed_at = self.list_(), now
        row = self._rows.get(name)
        if row is None and noted is not None and known.looked_at == float("-inf"):
            return self._accepted(known, self.look(name) or self._again(name), now)
        if row is not None and self._listed_at >= known.looked_at and (known.seen is None or self.mark(known.seen) != row):
            known.changed_at = now
            return self._accepted(known, cast(SeenT, row), now) if self.whole else self._looked(name, known, now)
        if known.seen is not None and now - known.looked_at >= self._pause(known, row, now):
            return self._looked(name, known, now)
        return known.seen

    def last(self, name: str) -> SeenT | None:
        """As it was seen last."""
        return self._known[name].seen if name in self._known else None

    @contextlib.contextmanager
    def changing(self, name: str) -> Iterator[None]:
        """Around a call that changes it, whether or not its answer comes; one that was refused changes nothing."""
        try:
            yield
        except PlatformAway as error:
            if not error.refused:
                self.touched(name)
            raise
        except BaseException:
            self.touched(name)
            raise
        self.touched(name)

    def touched(self, name: str) -> None:
        """It is not as it was: what the next pass sees must be newer."""
        known = self._known.setdefault(name, _Known())
        known.touched, known.changed_at = True, self.clock()

    def _pause(self, known: _Known[SeenT], row: object, now: float) -> float:
        """From one look to the next: the longer nothing happened, the longer."""
        if row is None and self._listed_at >= known.looked_at:
            return self.pace.gone_s
        if known.seen is not None and self.moving(known.seen):
            return min(self.pace.slowest_s, max(self.pace.list_s, (now - known.changed_at) / 4))
        return self.pace.look_s

    def _looked(self, name: str, known: _Known[SeenT], now: float) -> SeenT | None:
        """What was there is missed for a while before it counts as gone: an answer may come from a copy that lags behind."""
        seen = self.look(name)
        if seen is None and known.seen is not None:
            known.missed_at = now if known.missed_at is None else known.missed_at
            if now - known.missed_at < self.pace.gone_s:
                return known.seen
        return self._accepted(known, seen, max(now, self.clock()))

    def _again(self, name: str) -> SeenT | None:
        """Of an endpoint that another process knew."""
        time.sleep(self.pace.gone_s)
        return self.look(name)

    def _accepted(self, known: _Known[SeenT], seen: SeenT | None, at: float) -> SeenT | None:
        known.changed_at = at if seen != known.seen else known.changed_at
        known.seen, known.looked_at, known.missed_at, known.touched = seen, at, None, False
        return seen
