"""A batch by a vendor's own service: the same rows, the same questions and the same file of answers as by a replica of ours.

Rows go out as orders in shards, and come back as answers in any order; what is written of each is settled by the functions that the other
way uses, and the parts are the same files, so that a batch may be begun one way and ended the other. Not covered: several services at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import orjson

from penstock.control import rounds
from penstock.control.rounds import Round
from penstock.control.shards import lines_of, per_request, rows_of
from penstock.core.errors import BadInput, Interrupted, PenstockError, PlatformAway, StepFailed, StepTransient
from penstock.platforms.batches import Batches, BatchOrder
from penstock.platforms.remote.driver import Sight
from penstock.serving.batch.answers import Answers
from penstock.serving.batch.outcomes import Asked, Outcome, asked, failed, judged, unanswered
from penstock.serving.batch.rows import Row
from penstock.serving.batch.stage import Work, closed, opened, refuse
from penstock.spec.steps import PredictConfig

if TYPE_CHECKING:
    from penstock.store.artifacts import Artifacts

FIRST_POLL_S, LONGEST_POLL_S, COLLECT_S = 0.1, 15.0, 60.0
UNSEEN_S = 120.0  # for which one that was asked for may not be seen yet
CLOSING_S = 300.0  # that a service may take to stop one
_ENDED = ("succeeded", "failed", "stopped", "interrupted")
_BUSY = (429, 503)  # no answer: it is asked again
_BODY_BYTES = 64 << 20
pause: Callable[[float], None] = time.sleep


@dataclass(slots=True)
class Elsewhere:
    """The stage `predict` by `batches`. `key`: of the batch; `machine`: a type of the vendor's."""

    batches: Batches
    artifacts: Artifacts
    key: str
    machine: str
    instances: int
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = field(default_factory=lambda: pause)
    name: str = "predict"
    version: str = "1"

    def run(self, config: PredictConfig, inputs: Any, outputs: Any, context: Any) -> Mapping[str, float]:
        """Raises StepFailed, Interrupted, and what the platform refuses."""
        work = opened(config, inputs, context)
        ask = _Asking(self, config, work, inputs.digest("bundle"), context)
        ask.told()
        last = rounds.known(self.artifacts, self.key)
        while (last is not None and last.open) or work.parts.missing(work.total, work.total or 1):
            if last is None or not last.open:
                ask.refuse()
                last = self._next(last, config, work)
            last = ask.through(last)
        ask.refuse()
        return closed(work, config, inputs, outputs)

    def _next(self, last: Round | None, config: PredictConfig, work: Work) -> Round:
        shards = work.parts.missing(work.total, rounds.size_of(config.rows_per_part, last.tried if last is not None else 0))
        runs_on = [self.batches.service, self.machine, self.instances]
        return rounds.keep(self.artifacts, self.key, rounds.begun(self.key, last, shards, runs_on))


@dataclass(slots=True)
class _Asking:
    by: Elsewhere
    config: PredictConfig
    work: Work
    bundle: str
    context: Any

    def through(self, one: Round) -> Round:
        """Asks a round, or goes on with it, until it is over and nothing of it is left."""
        if not one.asked:
            one = self._prepared(one)
        order, answers = self._order(one), Answers(self.context.scratch / "answers", one.shards)
        seen: set[str] = set()
        ours = (sight := self._found(order)) is not None and sight.phase == "stopped"  # by an earlier command that did not wait for its end
        try:
            sight = self._watched(order, answers, one, seen)
        except (KeyboardInterrupt, StepFailed) as error:
            self._stopped(order, answers, one, seen)
            if isinstance(error, StepFailed):
                raise
            raise Interrupted("stopped from the keyboard; the same command goes on with the rows that have no answer") from None
        got = self._collected(order, answers, one, seen)
        sight = sight or Sight("interrupted", "it is not there any more", failure=StepTransient)
        stopped, reason = sight.phase == "stopped", sight.reason or "no reason was given"
        missing = self._written(order, answers, one, reason if one.gives_up(got) and not stopped else None)
        tail = [] if got or not missing else list(self.by.batches.tail(order))[-8:]
        one = self._over(order, one if stopped else one.ended(got, bool(missing)))
        if missing and stopped and not ours:
            raise Interrupted(f"{order.name} was stopped at {self.by.batches.service}, and not by us; the same command goes on")
        never = not any(part.rows > part.failed for part in self.work.parts.all())
        if missing and not got and ((never and one.tried > 1) or sight.failure not in (StepFailed, StepTransient)):
            raise sight.failure("\n".join((f"{self.by.batches.service} answered nothing ({order.name}): {reason}", *tail)))
        return one

    def told(self) -> None:
        done = self.work.parts.all()
        failed_ = sum(part.failed for part in done)
        self.context.progress(sum(part.rows for part in done), self.work.total, "rows", failed=failed_)

    def refuse(self) -> None:
        """Raises StepFailed when more rows failed than may."""
        refuse(sum(part.failed for part in self.work.parts.all()), self.config, self.work.parts)

    def _prepared(self, one: Round) -> Round:
        """Its lines in the store. Shards of which no row can be asked have none."""
        longest, names = 0, one.names()
        for shard, rows in rows_of(self.work.source, one.shards):
            lines = lines_of(rows, self.config, self.by.batches.grouped)
            if lines:
                longest = max(longest, *(len(line) for line in lines))
                self.by.artifacts.put_note(f"{one.folder}/in/{names[shard]}", b"\n".join(lines) + b"\n")
        if longest > self.by.batches.most_bytes:
            rounds.keep(self.by.artifacts, self.by.key, replace(one, open=False))
            self._dropped(one)
            raise BadInput(
                f"a request of this batch has {longest:,} bytes, and {self.by.batches.service} takes {self.by.batches.most_bytes:,}",
                remedy="Lower --max-payload or --rows-per-request.",
            )
        return rounds.keep(self.by.artifacts, self.by.key, replace(one, asked=True, longest_bytes=longest))

    def _order(self, one: Round) -> BatchOrder:
        names = tuple(name.rpartition("/")[2] for name in self.by.artifacts.notes(f"{one.folder}/in"))
        batches, config = self.by.batches, self.config
        body = one.longest_bytes * (1 if batches.grouped else per_request(config)) + (1 << 20)
        return BatchOrder(
            name=one.name,
            model=config.name,
            bundle=self.bundle,
            asked=f"{one.folder}/in",
            answered=f"{one.folder}/out",
            shards=names,
            machine=self.by.machine,
            instances=self.by.instances,
            concurrency=config.concurrency,
            rows_per_request=per_request(config),
            longest_bytes=one.longest_bytes,
            limits={"max_body_bytes": max(_BODY_BYTES, body)},
        )

    def _found(self, order: BatchOrder) -> Sight | None:
        return self.by.batches.observe(order) if order.shards else None

    def _watched(self, order: BatchOrder, answers: Answers, one: Round, seen: set[str]) -> Sight | None:
        """How it ended; None: it went, or never came. What the vendor refuses for good leaves nothing behind. Raises StepFailed, too."""
        if not order.shards:
            return Sight("succeeded")
        batches = self.by.batches
        if self._found(order) is None:
            self.context.log(f"{batches.service}: {order.name}, {len(order.shards)} shards on {order.instances} × {order.machine}")
            try:
                batches.submit(order)
            except PlatformAway:
                raise  # it may be there all the same: the same command finds it
            except PenstockError:
                self._over(order, one)
                raise
        began, collected, pause = self.by.clock(), self.by.clock(), FIRST_POLL_S
        while True:
            sight = batches.observe(order)
            now = self.by.clock()
            if (sight is None and now - began > UNSEEN_S) or (sight is not None and sight.phase in _ENDED):
                return sight
            if now - collected > COLLECT_S and self._collected(order, answers, one, seen):
                self._written(order, answers, one, None)
                self.refuse()
                collected = now
            self.by.sleep(pause)
            pause = min(LONGEST_POLL_S, 1.3 * pause)

    def _stopped(self, order: BatchOrder, answers: Answers, one: Round, seen: set[str]) -> None:
        """Ends it at the vendor's, keeps what it answered, and leaves nothing there where it stops in time."""
        batches, began = self.by.batches, self.by.clock()
        batches.cancel(order)
        while (sight := batches.observe(order)) is not None and sight.phase not in _ENDED:
            if self.by.clock() - began > CLOSING_S:
                return  # the same command takes away what is left
            self.by.sleep(1.0)
        self._collected(order, answers, one, seen)
        self._written(order, answers, one, None)
        self._over(order, one)

    def _collected(self, order: BatchOrder, answers: Answers, one: Round, seen: set[str]) -> bool:
        """Brings the files of answers that are new; whether any row was answered."""
        for name, told in self.by.batches.collect(order, seen):
            answers.add((one.row, one.status, one.body) for one in told if one.status not in _BUSY)
            seen.add(name)
        return any(answers.rows(at) for at in range(len(one.shards)))

    def _written(self, order: BatchOrder, answers: Answers, one: Round, gave_up: str | None) -> int:
        """Writes the part of every shard that is whole; how many are not. `gave_up`: why rows without an answer have none, for good."""
        there = {(part.first, part.rows) for part in self.work.parts.all()}
        missing, names = 0, one.names()
        for at, (shard, rows) in enumerate(rows_of(self.work.source, one.shards)):
            if shard in there:
                continue
            if gave_up is None and not answers.rows(at) and names[shard] in order.shards:
                missing += 1
                continue
            orders = {row.number: asked(row, self.config) for row in rows}
            open_ = {number for number, order in orders.items() if isinstance(order, Asked)} - answers.rows(at)
            if open_ and gave_up is None:
                missing += 1
                continue
            told = answers.take(at)
            self.work.parts.write([self._outcome(row, orders[row.number], told.get(row.number), gave_up) for row in rows])
        self.told()
        return missing

    def _outcome(self, row: Row, order: Asked | Outcome, told: tuple[int, int, str] | None, gave_up: str | None) -> Outcome:
        if isinstance(order, Outcome):
            return order
        if told is None:
            return failed(row, f"{self.by.batches.service} gave no answer, not even to this row by itself ({gave_up})", self.config)
        try:
            value = orjson.loads(told[2])
        except orjson.JSONDecodeError:
            return failed(row, f"the answer is no JSON: {told[2][:80]!r}", self.config)
        if told[1] == 0:
            return unanswered(row, value, self.config)
        return judged(row, told[1], value, self.config)

    def _over(self, order: BatchOrder, one: Round) -> Round:
        self.by.batches.remove(order)
        kept = rounds.keep(self.by.artifacts, self.by.key, replace(one, open=False))
        self._dropped(one)
        return kept

    def _dropped(self, one: Round) -> None:
        for name in self.by.artifacts.notes(one.folder):
            self.by.artifacts.drop_note(name)
