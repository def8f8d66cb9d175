"""A monitor's lines to receivers: what has arrived is heard of, what is due is handed to the courier.

That a message arrived is an event of the monitor's row, written by who sent it: it is known after a crash, and to every control process.
A try that failed is known to the process that tried; another one tries again sooner, with the same id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.control.alerts.courier import Courier
from penstock.control.alerts.messages import message_of
from penstock.control.alerts.notify.contract import Message
from penstock.control.alerts.notify.delivery import deliver, way_of
from penstock.control.alerts.rows import change
from penstock.control.alerts.state import State
from penstock.control.world import World
from penstock.core.errors import NotFound
from penstock.monitoring.alerting.grouping import Due, Line, Parcel, Timing, arrived, due, failed
from penstock.monitoring.alerting.standing import Standing
from penstock.spec.react import Notify, Receiver
from penstock.store import owners
from penstock.store.resources import Resource

GROUPS = ("critical", "other")
LOST_S = 60.0  # after which a message that another process is sending counts as lost


@dataclass(frozen=True, slots=True)
class Errand:
    name: str
    work: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Telling:
    """One pass over the lines of `monitor`. `open_rows`: its alerts that fire, by id; `free`: those of them that may be told."""

    world: World
    monitor: Resource
    state: State
    courier: Courier
    open_rows: Mapping[str, Resource]
    free: Sequence[Standing] = ()
    link: str | None = None

    def hear(self) -> None:
        """Takes in what became of messages since the last pass."""
        for event in self.world.store.events.list("monitor", self.monitor.id, since=self.state.seen):
            self.state.seen = event.seq
            if event.type == "message.sent" and event.data is not None:
                self._arrived(event.data, event.at)
        for name in list(self.state.sending):
            self._looked_after(name)

    def _arrived(self, data: Mapping[str, Any], at: float) -> None:
        line = self.state.lines.get(data["line"], Line())
        if self.state.sending.get(data["line"], {}).get("parcel") == data["parcel"]:
            del self.state.sending[data["line"]]
        if line.count != data["count"]:
            return  # it arrived twice, which is known already
        parcel = Parcel(data["parcel"], tuple(data["firing"]), tuple(data["over"]), tuple(data["fresh"]))
        self.state.lines[data["line"]] = arrived(line, parcel, at)
        receiver = data["line"].partition("/")[0]
        for ident in (*parcel.fresh, *parcel.over):
            row = _stored(self.world, ident)
            if row is not None:
                change(self.world, row, told={**row.status["told"], receiver: at})
                what = "that it fires" if ident in parcel.fresh else "that it is over"
                about = {"receiver": receiver, "message": parcel.id}
                self.world.store.events.add("alert", ident, "alert.told", f"{receiver} was told {what}", about)

    def _looked_after(self, name: str) -> None:
        """A parcel on its way: failed, lost with the process that sent it, or still under way."""
        sending, now = self.state.sending[name], self.world.clock.now()
        key = self._key(name)
        outcome = self.courier.take(key)
        if outcome is not None and outcome.error is not None:
            line = failed(self.state.lines[name], Parcel(sending["parcel"], ()), now, hopeless=outcome.hopeless, after_s=outcome.after_s)
            self.state.lines[name] = line
            if line.tries == 1:
                told = {"line": name, "error": outcome.error, "retry_at": line.retry_at}
                self.world.store.events.add("monitor", self.monitor.id, "message.failed", f"{name}: {outcome.error}", told)
        elif outcome is not None or self.courier.busy(key):
            return  # arrived, and the event that says so is heard at the next pass; or under way
        elif sending["owner"] != self.world.owner and owners.alive(sending["owner"]) is not False and 0 <= now - sending["at"] < LOST_S:
            return
        del self.state.sending[name]

    def send(self, notify: Notify) -> tuple[list[Errand], float | None]:
        """What is to be sent now, and when to look again. Lines of receivers that are no more are dropped."""
        errands, again = [], []
        known = {f"{name}/{group}" for name in notify.receivers for group in GROUPS}
        self.state.lines = {name: line for name, line in self.state.lines.items() if name in known}
        for name, receiver in notify.receivers.items():
            for group in GROUPS:
                key = f"{name}/{group}"
                if key in self.state.sending:
                    continue
                found = self._due(key, name, receiver, group)
                self.state.lines[key] = found.line
                if found.again_at is not None:
                    again.append(found.again_at)
                if found.parcel is not None and (errand := self._errand(key, receiver, found.parcel)) is not None:
                    errands.append(errand)
        self.state.lines = {name: line for name, line in self.state.lines.items() if line != Line()}
        return errands, min(again, default=None)

    def _due(self, key: str, name: str, receiver: Receiver, group: str) -> Due:
        def mine(severity: str) -> bool:
            return (severity == "critical") == (group == "critical")

        wanted = [
            alert
            for alert in self.free
            if mine(alert.severity)
            and (not alert.send or name in alert.send)
            and (not receiver.severities or alert.severity in receiver.severities)
        ]
        standing = {ident for ident, row in self.open_rows.items() if mine(row.spec["severity"])}
        timing = Timing(receiver.group_wait, receiver.group_every, way_of(receiver).refresh_s)
        return due(self.state.lines.get(key, Line()), self._key(key), wanted, standing, timing, self.world.clock.now())

    def _errand(self, key: str, receiver: Receiver, parcel: Parcel) -> Errand | None:
        rows = {ident: row for ident in parcel.alerts if (row := self._row(ident)) is not None}
        line, now = self.state.lines[key], self.world.clock.now()
        group = f"{self.monitor.spec['deployment']}/{key.rpartition('/')[2]}"
        message = message_of(parcel, group, rows, now, self.link)
        if message is None:
            self.state.lines[key] = arrived(line, parcel, now)
            return None
        self.state.sending[key] = {"parcel": parcel.id, "owner": self.world.owner, "at": now}
        about = {"line": key, "count": line.count, "parcel": parcel.id}
        about |= {"firing": parcel.firing, "over": parcel.over, "fresh": parcel.fresh}
        return Errand(self._key(key), _sent(self.world, self.monitor.id, receiver, message, about))

    def _row(self, ident: str) -> Resource | None:
        return self.open_rows[ident] if ident in self.open_rows else _stored(self.world, ident)

    def _key(self, line: str) -> str:
        return f"{self.monitor.id}/{line}"


def _sent(world: World, monitor: str, receiver: Receiver, message: Message, about: Mapping[str, Any]) -> Callable[[], None]:
    def work() -> None:
        deliver(receiver, message)
        name = about["line"].partition("/")[0]
        world.store.events.add("monitor", monitor, "message.sent", f"{name} was told: {message.title}", about)

    return work


def _stored(world: World, alert: str) -> Resource | None:
    try:
        return world.store.resources.get("alert", alert)
    except NotFound:
        return None


def withdrawn(state: State, now: float) -> bool:
    """Whether nothing is under way or left to be told, or what is left has been tried for long enough."""
    left = [line for line in state.lines.values() if line.told or line.wanted_at is not None]
    return not state.sending and all(now - (line.wanted_at or now) > 3600.0 for line in left)
