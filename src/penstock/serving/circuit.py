"""Whether a replica may be asked: a circuit that failures open, for a growing pause, and one probe closes. Pure: times are given.

States (Nygard, "Release It!", 2007): *closed*, requests pass; *open*, none pass until the pause is over; *half-open*, one request
passes and decides. A failure is *hard* when no answer came (no connection, lost, not HTTP, silent too long) and *soft* when the replica
answered with 5xx: then it lives, and the request may have been at fault. One hard failure opens the circuit, but only DEAD of them in a
row make the replica `dead`: until then an open circuit means "ask another one if there is one".
"""

from __future__ import annotations

from dataclasses import dataclass

from penstock.serving.load import Rolling

CONSECUTIVE, SHARE, LEAST = 5, 0.5, 20  # failures in a row; share of the last ten seconds' answers, of at least so many
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
DEAD = 3  # hard failures in a row


@dataclass(frozen=True, slots=True)
class Limits:
    """When a circuit opens."""

    consecutive: int = CONSECUTIVE
    share: float = SHARE
    least: int = LEAST


class Circuit:
    """Of one replica. Times are monotonic seconds."""

    __slots__ = ("_answers", "_failures", "_hard_row", "_limits", "_probing", "_row", "open_until", "opened", "pause_s")

    def __init__(self, now: float, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._answers, self._failures = Rolling(now), Rolling(now)
        self._row = self._hard_row = 0
        self._probing = False
        self.open_until = 0.0
        self.opened = False
        self.pause_s = FIRST_PAUSE_S  # the next one

    def allows(self, now: float) -> bool:
        """May a request be sent? Half-open: only while no probe is under way."""
        return not self.opened or (now >= self.open_until and not self._probing)

    @property
    def dead(self) -> bool:
        return self._hard_row >= DEAD

    def begin(self, now: float) -> bool:
        """Call when a request is sent. True when it is the probe; its end must then be told."""
        if not self.opened or now < self.open_until or self._probing:
            return False
        self._probing = True
        return True

    def succeeded(self, now: float) -> None:
        self._row = self._hard_row = 0
        self._answers.add(now)
        if self.opened:
            self.opened = self._probing = False
            self.pause_s = FIRST_PAUSE_S
            self._failures = Rolling(now)
            self._answers = Rolling(now)

    def failed(self, now: float, hard: bool) -> None:
        self._row += 1
        self._hard_row = self._hard_row + 1 if hard else 0
        self._answers.add(now)
        self._failures.add(now)
        if self.opened and not self._probing and now < self.open_until:
            return  # one of those that were under way: the pause has begun already
        if self.opened or hard or self._row >= self._limits.consecutive or self._often(now):
            self._open(now)

    def abandoned(self) -> None:
        """The probe ended without saying anything (its client left): another may probe."""
        self._probing = False

    def _often(self, now: float) -> bool:
        answers = self._answers.over(now)
        return answers >= self._limits.least and self._failures.over(now) >= self._limits.share * answers

    def _open(self, now: float) -> None:
        self.opened, self._probing = True, False
        self.open_until = now + self.pause_s
        self.pause_s = min(self.pause_s * 2, LONGEST_PAUSE_S)


class Budget:
    """Second attempts (retries, hedges) as a share of the requests of the last ten seconds, so that they cannot multiply an overload.

    `SPARE` more are always allowed: a share of few requests is nothing. A share of 0 allows none.
    """

    __slots__ = ("_requests", "_spent")
    SPARE = 50

    def __init__(self, now: float, requests: Rolling) -> None:
        """`requests` counts those that arrive; somebody else adds to it."""
        self._requests, self._spent = requests, Rolling(now)

    def spend(self, now: float, share: float) -> bool:
        """Takes one second attempt when there is one left."""
        if share <= 0 or self._spent.over(now) + 1 > share * self._requests.over(now) + self.SPARE:
            return False
        self._spent.add(now)
        return True
