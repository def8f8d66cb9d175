"""Rate limits, concurrency and spend budgets of gateway keys: `admit` before a request is sent, `settle` once when it is over.

Requests and tokens a minute are token buckets on the monotonic clock (see buckets.py): tokens leave by estimate and are corrected by what
was used. Budgets fail closed: the estimated cost is held while the request runs, and a key whose spend cannot be read is refused.
Gateway workers share one file (spend_file.py): rates, concurrency and budgets hold for all of them together. Where another process keeps
the file's lock for more than a millisecond, a worker takes from the bucket without it, and one of two simultaneous takings may be lost.
Not covered: gateways on several machines, each of which counts for itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from pathlib import Path

from penstock.serving import refusals
from penstock.serving.buckets import Bucket
from penstock.serving.snapshot import KeyEntry
from penstock.serving.spend import Calendar, SpendUnreadable
from penstock.serving.spend_file import Book
from penstock.serving.spend_row import Row

log = logging.getLogger("penstock.gateway")
_CRUMB_USD = 1e-9  # sums of cents as binary fractions are not exact


class KeyState:
    """One key's limits, and its numbers."""

    __slots__ = ("book", "budget", "concurrency", "limited", "lines", "period", "rated", "requests", "row", "tokens")

    def __init__(self, entry: KeyEntry, book: Book) -> None:
        self.book, self.row = book, Row(book, book.rows[entry.id])
        self.use(entry)

    def use(self, entry: KeyEntry) -> None:
        limits = entry.limits
        self.concurrency, self.budget, self.period = limits.concurrency, limits.budget_usd, limits.budget_period
        self.requests = None if limits.requests_per_minute is None else Bucket.per_minute(limits.requests_per_minute)
        self.tokens = None if limits.tokens_per_minute is None else Bucket.per_minute(limits.tokens_per_minute)
        self.lines = tuple(
            refusals.template(name, b.limit if b else 0) for name, b in ((b"requests", self.requests), (b"tokens", self.tokens))
        )
        self.rated = self.requests is not None or self.tokens is not None
        self.limited = self.rated or self.concurrency is not None or self.budget is not None


class Pass:
    """A request that was let in. `entered`: it counts as in flight until it is settled."""

    __slots__ = ("cost_usd", "entered", "now", "settled", "state", "tats", "tokens")

    def __init__(self, state: KeyState, tokens: int, cost_usd: float, now: float) -> None:
        self.state, self.tokens, self.cost_usd, self.now = state, tokens, cost_usd, now
        self.settled = self.entered = False
        self.tats = (0.0, 0.0)

    @property
    def headers(self) -> bytes:
        """Response header lines `x-ratelimit-…` as OpenAI names them; nothing where no rate is limited."""
        state, lines = self.state, b""
        if state.requests is not None:
            lines = refusals.standing(state.lines[0], state.requests, self.tats[0], self.now)
        if state.tokens is not None:
            lines += refusals.standing(state.lines[1], state.tokens, self.tats[1], self.now)
        return lines


class Limiter:
    """One per gateway process. `folder` is the gateway's; `worker` its number where several share a port."""

    def __init__(self, folder: Path, worker: int | None = None) -> None:
        self.folder, self.alone = folder / "limits", worker is None
        self.calendar = Calendar()
        self.problem = ""  # why spend cannot be trusted; budgets are refused as long as it is so
        self._states: dict[str, KeyState] = {}
        self._shared: Book | None = None
        self._memory = Book(None)  # of keys that have no row in the file

    def configure(self, keys: Iterable[KeyEntry]) -> None:
        """Takes over the keys of a snapshot; what keys that stay have used stays. What the disk refuses closes budgets, it never raises."""
        entries = {key.id: key for key in keys}
        try:
            if self._shared is None:
                self._shared = Book(self.folder)
            self._shared.assign(entries)
            self.problem = ""
        except (OSError, SpendUnreadable) as error:
            if not self.problem:
                log.error("%s; keys with a budget are refused until this is mended", error)
            self.problem = str(error)
        known = self._shared.rows if self._shared is not None else {}
        self._memory.assign(ident for ident in entries if ident not in known)
        kept, self._states = self._states, {}
        for ident, entry in entries.items():
            book = self._shared if self._shared is not None and ident in known else self._memory
            state = kept.get(ident)
            if state is not None and state.book is book:
                state.use(entry)
            else:
                state = KeyState(entry, book)
            self._states[ident] = state

    def close(self) -> None:
        """Lets another process have this one's place in the file."""
        if self._shared is not None:
            self._shared.close()

    def admit(self, key: KeyEntry, tokens: int, now: float, cost_usd: float = 0.0) -> Pass:
        """Lets a request of a configured key in, or raises RequestRefused.

        `tokens`: estimate of prompt and answer. `now`: time.monotonic(). `cost_usd`: estimate, at best an upper bound; a budget can be
        overspent by what requests in flight cost beyond their estimates.
        """
        state = self._states[key.id]
        granted = Pass(state, tokens, cost_usd, now)
        if not state.limited:
            return granted
        self._enter(granted)
        if state.rated:
            try:
                self._take(granted)
            except BaseException:
                self._leave(granted)
                raise
        return granted

    def settle(self, granted: Pass, tokens: int, cost_usd: float) -> None:
        """The request is over, well or not: what it really used. A second call for the same Pass does nothing."""
        if granted.settled:
            return
        granted.settled = True
        state = granted.state
        if cost_usd > 0:
            self.calendar.turn(time.time())
            state.row.add(cost_usd, self.calendar)
        if not granted.entered:
            return
        self._leave(granted)
        if state.tokens is not None and tokens != granted.tokens:
            locked = not self.alone and state.book.hold()
            state.book.view[state.row.start + 1] += (tokens - granted.tokens) * state.tokens.unit_s
            if locked:
                state.book.release()

    def _enter(self, granted: Pass) -> None:
        """Counts the request as in flight first and looks at the sums second: of two processes at the limit, none slips through."""
        state = granted.state
        state.row.enter(granted.cost_usd)
        granted.entered = True
        try:
            if state.concurrency is not None and state.row.in_flight() > state.concurrency:
                raise refusals.too_many(state.concurrency)
            if state.budget is not None:
                self._check_budget(granted, state.budget)
        except BaseException:
            self._leave(granted)
            raise

    def _leave(self, granted: Pass) -> None:
        granted.state.row.leave(granted.cost_usd)
        granted.entered = False

    def _check_budget(self, granted: Pass, budget: float) -> None:
        state, book = granted.state, granted.state.book
        if book is self._memory:
            raise refusals.unreadable(self.problem)
        wall = time.time()
        self.calendar.turn(wall)
        try:
            spent = state.row.spent(state.period, self.calendar)
        except SpendUnreadable as error:
            raise refusals.unreadable(str(error)) from error
        held = state.row.reserved()  # this request's cost is in it
        if spent + held <= budget + _CRUMB_USD and spent < budget - _CRUMB_USD:
            return
        told = (
            f"The budget of this key is {budget:g} USD a {state.period}"
            if state.period != "total"
            else f"The budget of this key is {budget:g} USD"
        )
        if spent + granted.cost_usd <= budget + _CRUMB_USD and spent < budget - _CRUMB_USD:
            raise refusals.held(f"{told}; {spent:.4f} are spent and requests in flight may use the rest")
        need = f", this request may cost {granted.cost_usd:.4f}" if spent < budget - _CRUMB_USD else ""
        wait = None if state.period == "total" else self.calendar.ends_in_s(state.period, wall)
        raise refusals.spent(f"{told}; {spent:.4f} are spent{need}", wait)

    def _take(self, granted: Pass) -> None:
        """Takes from both buckets or from none."""
        state, now = granted.state, granted.now
        view, row = state.book.view, state.row.start
        locked = not self.alone and state.book.hold()
        try:
            requests, tokens = view[row], view[row + 1]
            granted.tats = (requests, tokens)
            if state.requests is not None:
                requests = state.requests.taken(requests, now, 1)
                if wait := state.requests.wait_s(requests, now):
                    raise refusals.too_fast("requests", state.requests, 1, wait, granted.headers)
            if state.tokens is not None:
                tokens = state.tokens.taken(tokens, now, granted.tokens)
                if wait := state.tokens.wait_s(tokens, now):
                    if granted.tokens > state.tokens.burst:
                        raise refusals.too_large(state.tokens, granted.tokens, granted.headers)
                    raise refusals.too_fast("tokens", state.tokens, granted.tokens, wait, granted.headers)
            view[row], view[row + 1] = requests, tokens
            granted.tats = (requests, tokens)
        finally:
            if locked:
                state.book.release()
