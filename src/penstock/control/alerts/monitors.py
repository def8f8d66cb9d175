"""The monitor of a deployment: signals in, alerts and messages out. One row of kind `monitor` each, made beside the deployment's row.

A pass reads signals that are new, lets every rule advance, and writes alerts and its own row in one transaction; messages leave beside it.
Whatever is not in the row follows from it and the signals, so a pass may die anywhere. Phases: watching, idle (nothing is asked), ended.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from pydantic import ValidationError

from penstock.control.alerts.courier import Courier
from penstock.control.alerts.explaining import Explaining
from penstock.control.alerts.heart import Heart
from penstock.control.alerts.reacting import Reacting, calm, is_reaction, react, reacting_of
from penstock.control.alerts.rows import alert_id, asks_for_monitor, end, fire, fire_missing, open_alerts, standing_of
from penstock.control.alerts.silences import silences
from penstock.control.alerts.state import State
from penstock.control.alerts.telling import Errand, Telling, withdrawn
from penstock.control.contract import Again, Done, Outcome
from penstock.control.policy import Watching, watching_of
from penstock.control.world import World
from penstock.core.errors import NotFound
from penstock.monitoring.alerting.course import Course, Turn, silent
from penstock.monitoring.alerting.judging import signals_of
from penstock.monitoring.alerting.readings import Readings
from penstock.monitoring.alerting.rules import Rule, rules_of
from penstock.monitoring.alerting.standing import withhold
from penstock.spec.monitor import Monitor
from penstock.store.resources import Resource

SLOWEST_S, FASTEST_S, IDLE_S = 5.0, 0.5, 30.0
AHEAD_S = 60.0  # of the clock, that a signal's time may be
LATE_WINDOWS, LATE_S = 10.0, 60.0  # rows that come so late are followed still
BACK_WINDOWS, BACK_S, MOST_BACK_S = 120.0, 600.0, 6 * 3600.0  # what is read again after a start
WHY = {
    "cleared": "the condition no longer holds",
    "gone": "nothing is measured on this part any more",
    "removed": "the rule is not in the file any more",
    "deleted": "the deployment was deleted",
}


@dataclass(slots=True)
class Look:
    """One pass. `deployment`: its row, None where even that is gone; `gone`: it serves no more. `began`: when this process first looked."""

    world: World
    monitor: Resource
    deployment: Resource | None
    gone: bool
    state: State
    watching: Watching
    rules: list[Rule]
    reacting: Reacting
    began: float
    turns: list[Turn] = field(default_factory=list)

    @property
    def window_s(self) -> float:
        return self.watching.monitor.window

    @property
    def silent(self) -> bool:
        assert self.deployment is not None
        newest = self.world.store.signals.newest(self.deployment.name)
        return silent(newest, max(self.deployment.created_at, self.began), self.world.clock.now(), self.window_s)


class MonitorReconciler:
    kind = "monitor"

    def __init__(self, courier: Courier | None = None) -> None:
        self._courier = courier or Courier()
        self._readings: dict[str, tuple[float | None, Readings]] = {}  # with the cursor that they belong to
        self._began: dict[str, float] = {}

    def reconcile(self, resource: Resource, world: World) -> Outcome:
        """One pass."""
        if resource.phase == "ended":
            return Done()
        look = self._look(resource, world)
        if not look.gone:
            look.turns = self._follow(look)
        try:
            with world.store.database.begin():
                _write(look)
                self._react(look)
                errands, again_at = self._tell(look)
                outcome = _save(look, again_at)
        except BaseException:
            self._readings.pop(resource.id, None)  # they are ahead of the row now
            raise
        for errand in errands:
            self._courier.start(errand.name, errand.work, lambda: _wake(world, resource.id))
        return outcome

    def _look(self, resource: Resource, world: World) -> Look:
        try:
            deployment: Resource | None = world.store.resources.get("deployment", resource.spec["deployment_id"])
        except NotFound:
            deployment = None
        state, now = State.parse(resource.status), world.clock.now()
        gone = deployment is None or deployment.phase == "deleted" or bool(deployment.spec.get("delete"))
        try:
            watching = watching_of(deployment.spec) if deployment is not None else Watching(Monitor())
            state.error = None
        except ValidationError as error:  # written by another release: told, and nothing is watched until it is written anew
            watching, state.error = Watching(Monitor()), str(error.errors()[0]["msg"])
        window_s = watching.monitor.window
        reacting = reacting_of(() if gone else watching.react, window_s)
        rules = [] if gone else [*rules_of(watching.alerts, window_s), *reacting.rules]
        return Look(world, resource, deployment, gone, state, watching, rules, reacting, self._began.setdefault(resource.id, now))

    def _follow(self, look: Look) -> list[Turn]:
        """Advances the rules by what is new; changes `look.state`."""
        assert look.deployment is not None
        names, now = sorted({name for rule in look.rules for name in signals_of(rule.watch)}), look.world.clock.now()
        signals, name, start, state = look.world.store.signals, look.deployment.name, look.deployment.created_at, look.state
        cursor, readings = self._readings.get(look.monitor.id, (None, Readings(look.window_s)))
        if state.cursor is not None and state.cursor > now + AHEAD_S:  # the clock was set back: what it showed then is no future
            state.cursor = now
            state.states = {place: progress.not_after(now) for place, progress in state.states.items()}
        if state.cursor is not None and (cursor != state.cursor or readings.window_s != look.window_s):
            readings = Readings(look.window_s)
            back = min(max(BACK_WINDOWS * look.window_s, BACK_S), MOST_BACK_S)
            for row in signals.read(name, name=names, since=max(start, state.cursor - back), until=state.cursor):
                readings.put(row)
        late = 0.0 if state.cursor is None else max(start, state.cursor - max(LATE_WINDOWS * look.window_s, LATE_S))
        rows = signals.read(name, name=names, since=max(start, late), until=now + AHEAD_S) if names else []
        course = Course(look.rules, readings, state.states)
        turns = [*course.follow(rows), *course.lost(now)]
        state.cursor = max([*(row.at for row in rows), *([] if state.cursor is None else [state.cursor])], default=None)
        self._readings[look.monitor.id] = state.cursor, readings
        return turns

    def _react(self, look: Look) -> None:
        """Considers what is to be done about what holds now."""
        if look.gone or look.deployment is None or not look.reacting.rules:
            return
        calm(look.world, look.deployment, look.turns)
        react(look.world, look.deployment, look.reacting, look.state.states, self._readings[look.monitor.id][1])

    def _tell(self, look: Look) -> tuple[list[Errand], float | None]:
        """What is to be sent and worked out beside this pass, and when there is more."""
        world, monitor, state = look.world, look.monitor, look.state
        rows = {row.id: row for row in _open(look)}
        told = withhold([standing_of(row) for row in rows.values()], silences(world), world.clock.now())
        state.withheld = dict(told.withheld)
        link = None if look.deployment is None or look.gone else look.deployment.status.get("url")
        telling = Telling(world, monitor, state, self._courier, rows, told.free, link)
        telling.hear()
        errands, again_at = telling.send(look.watching.notify)
        errands += Explaining(world, monitor, self._courier, look.window_s).errands(rows.values())
        if not look.gone and look.watching.notify.heartbeat is not None:
            heart = Heart(world, monitor, state, self._courier)
            beats, due = heart.beats(look.watching.notify.heartbeat, healthy=not look.silent)
            return [*errands, *beats], min(due, again_at or due)
        return errands, again_at


def _write(look: Look) -> None:
    """Alerts that rules fired or cleared."""
    world, deployment = look.world, look.deployment
    if look.gone or deployment is None:
        look.state.states = {}
        for row in _open(look):
            end(world, row, world.clock.now(), WHY["deleted"])
        return
    by_key = {rule.key: rule for rule in look.rules}
    for turn in look.turns:
        if is_reaction(turn):
            continue
        if turn.change == "fired":
            fire(world, deployment, by_key[turn.rule], turn)
        elif turn.change in WHY:
            ident = alert_id(deployment, turn.rule, turn.part, turn.since)
            for row in _open(look):
                if row.id == ident:
                    end(world, row, turn.at, WHY[turn.change])
    _missing(look, deployment)


def _missing(look: Look, deployment: Resource) -> None:
    """The alert that there are no signals at all, without which every other one would be blind in silence."""
    if look.rules and look.silent:
        fire_missing(look.world, deployment, look.world.store.signals.newest(deployment.name) or deployment.created_at)
        return
    for row in _open(look):
        if row.spec.get("missing"):
            end(look.world, row, look.world.clock.now(), "signals come again" if look.rules else WHY["removed"])


def _save(look: Look, again_at: float | None) -> Outcome:
    now, state = look.world.clock.now(), look.state
    phase, due, pause = "watching", None, min(max(look.window_s / 4, FASTEST_S), SLOWEST_S)
    if look.gone and (not look.watching.notify.receivers or withdrawn(state, now)):
        phase = "ended"
    else:
        if look.deployment is not None and not asks_for_monitor(look.deployment.spec) and not state.lines and not state.sending:
            phase, pause = "idle", IDLE_S
        due = now + (pause if again_at is None else max(0.1, min(pause, again_at - now)))
    resources = look.world.store.resources
    resources.save("monitor", look.monitor.id, look.world.owner, status=state.as_json(), phase=phase, due_at=due)
    return Done() if due is None else Again(due - now)


def _open(look: Look) -> list[Resource]:
    spec = look.monitor.spec
    return open_alerts(look.world, spec["deployment"], spec["deployment_id"])


def _wake(world: World, monitor: str) -> None:
    """What was sent or found is looked at soon; where that fails, the next pass comes anyway."""
    try:
        world.store.resources.wake("monitor", monitor)
    except Exception as error:
        print(f"monitor {monitor} could not be woken: {error}", file=sys.stderr)
