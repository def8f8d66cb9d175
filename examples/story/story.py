"""The closed loop as a story that checks itself: drift is seen, a version retrained, gated, rolled out; bad ones are refused or sent back.

Usage: python examples/story/story.py [small|full] [FOLDER]. Behind `make story`. FOLDER is emptied first. Exits 1, with what was expected,
when anything goes another way. What it measured is in FOLDER/story.json, the page of everything that happened in FOLDER/story.html.
What is done is done by commands. What is waited for is looked at by the functions behind them: a process for each look took half a core.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import data
from house import HERE, Broken, House, expect

from penstock.control.alerts.orders import list_alerts
from penstock.control.delivery import deployment_story, opened_world
from penstock.control.drift.story import drift_story
from penstock.control.reactions.commands import reaction_rows, reaction_story
from penstock.control.rollouts.commands import rollout_rows, rollout_story
from penstock.control.rollouts.orders import rollout_row
from penstock.control.state import RunState
from penstock.monitoring.drift.words import words

CLEAN, SOON, LOOP_S = 20, 2, 900.0
WRONG = ("--set", "data.sources.0.uri=data/shuffled.csv", "--set", "train.epochs=1")
SHIFTED = 0.5  # share of requests about new intents, once they come
RETRAIN = "[{cron: '* * * * *', do: retrain, with: {gates: ['not_worse_than(champion, new.accuracy, margin=0.05)']}}]"
CAUSES = ("cause", "evidence", "decision", "action", "effect")


class Story:
    def __init__(self, house: House, size: data.Size) -> None:
        self.house, self.size = house, size
        self.facts: dict[str, Any] = {}

    def tell(self) -> None:
        for number, chapter in enumerate((self.first, self.clean, self.drifts, self.retrains, self.shuffled, self.slow, self.broken), 1):
            began = time.time()
            self.house.tell(f"{number}. {chapter.__doc__}")
            self.facts[chapter.__name__] = {**chapter(), "seconds": round(time.time() - began, 1)}
        self.end()

    def first(self) -> dict[str, Any]:
        """A model of two thirds of Banking77's intents is trained, gated and served; a client asks, and says which label was right."""
        known, held = data.write(self.house.folder / "data", self.size)
        run = self.house.penstock("run", "penstock.yaml", *self.settings())
        self.house.start_client(run["deployment"]["url"], self.size.rate)
        self.house.tell(f"   {len(known)} intents known, {len(held)} held back; accuracy {run['metrics']['accuracy']:.1%}")
        return {"accuracy": run["metrics"]["accuracy"], "known": len(known), "held": len(held)}

    def clean(self) -> dict[str, Any]:
        """Requests like those it was made for: 20 windows, and no alarm."""
        self.house.wait("windows", lambda: self.drift()["windows"] >= CLEAN, 600)
        seen = self.drift()
        expect(seen["windows_over"] == 0, f"a false alarm: {seen['windows_over']} of {seen['windows']} windows were over the limit")
        expect(not self.alerts(), "an alert fires, though nothing has changed")
        highest = max(ratio for _, ratio in seen["course"])
        self.house.tell(f"   {seen['windows']} windows, none over; the highest at {highest:.0%} of its limit")
        return {"windows": seen["windows"], "over": seen["windows_over"], "highest": highest}

    def drifts(self) -> dict[str, Any]:
        """The intents that were held back begin to come, half of all requests: an alarm within two windows, and it names new words."""
        began, before = time.time(), self.drift()["windows"]
        self.house.mix(SHIFTED)
        seen = self.house.wait("the alarm", lambda: (found := self.drift())["over"] and found, 120)
        first = next(at for at, ratio in seen["course"] if at > began and ratio > 1)
        later = sum(began < at <= first for at, _ in seen["course"])
        expect(later <= SOON + 1, f"the alarm came in window {later} after the change (the first is half of before)")
        (alert,) = self.house.wait("the alert", self.alerts, 30)
        named, share = self.house.wait("words of the new intents", self.named, 30)  # the window of the alarm has few of them yet
        self.house.tell(
            f"   after {first - began:.1f} s, in window {later} of {before + later}: {alert['message']}; {', '.join(named[:8])}"
        )
        return {"windows": later, "after_s": round(first - began, 1), "words": named, "new_words": share}

    def retrains(self) -> dict[str, Any]:
        """By itself it is retrained with what was said of live answers, is better on the new and not worse on the old, and takes over."""
        self.house.rate = self.size.calm
        self.house.mix(SHIFTED)
        effect = self.loop("retrain")
        new, old = effect["new"], effect["old"]
        expect(new["challenger"] > new["champion"], f"it is no better on new rows: {new}")
        live = self.live()
        expect(live == {effect["version"]: 1.0}, f"version {effect['version']} should serve all requests, not {live}")
        self.house.tell(
            f"   new rows {new['champion']:.1%} → {new['challenger']:.1%}, old rows {old['champion']:.1%} → {old['challenger']:.1%}"
        )
        return {"version": effect["version"], "new": new, "old": old}

    def shuffled(self) -> dict[str, Any]:
        """A version with wrong labels is refused by its gates; forced through, it goes back in its first step by what people say of it."""
        before = self.live()
        run = self.house.penstock("run", "penstock.yaml", *WRONG, exits=(3,))
        version = run["model"]["version"]
        made = self.house.penstock("deploy", "story", str(version), "--force")
        rollout = self.over(made["rollout"])
        expect(rollout["phase"] == "rolled_back" and rollout["stage"] == 0, f"it was not sent back in its first step: {rollout}")
        expect("live.accuracy" in rollout["reason"], f"it was sent back for another reason: {rollout['reason']}")
        expect(self.live() == before, f"{self.live()} serve, not {before}")
        refused = next(gate["reason"] for gate in run["gates"] if not gate["passed"])
        self.house.tell(f"   refused: {refused}")
        self.house.tell(f"   forced, back after {rollout['ended_at'] - rollout['created_at']:.0f} s: {rollout['reason']}")
        return {"refused": refused, "reason": rollout["reason"], "after_s": round(rollout["ended_at"] - rollout["created_at"], 1)}

    def slow(self) -> dict[str, Any]:
        """A version that answers well and too slowly goes back by its latency."""
        before = self.live()
        self.house.mix(0.2)  # the first version knows nothing of new intents, and must not fall for that
        made = self.house.penstock("deploy", "story", "1", "--force")
        with self.house.slowed(1, stopped_s=2.5, working_s=0.2):
            rollout = self.over(made["rollout"])
        expect(rollout["phase"] == "rolled_back", f"it was not sent back: {rollout}")
        expect("ms" in rollout["reason"], f"it was sent back for another reason: {rollout['reason']}")
        expect(self.live() == before, f"{self.live()} serve, not {before}")
        self.house.mix(SHIFTED)
        self.house.tell(f"   back after {rollout['ended_at'] - rollout['created_at']:.0f} s: {rollout['reason']}")
        return {"reason": rollout["reason"], "after_s": round(rollout["ended_at"] - rollout["created_at"], 1)}

    def broken(self) -> dict[str, Any]:
        """The loop again, by the clock; the background process is killed at every step, a replica once, the database restarted."""
        known = {row["id"] for row in reaction_rows(None)}
        self.house.penstock("triggers", "set", "penstock.yaml", *self.settings(), "--set", f"triggers={RETRAIN}")
        self.house.wait("the trigger", lambda: reaction_rows(None)[0]["id"] not in known, 120)
        self.house.penstock("triggers", "remove", "story")
        with self.house.killing_at(self.steps) as killed:
            self.house.wait("the roll-out", lambda: self.running() or reaction_rows(None)[0]["phase"] not in ("acting", "caused"), LOOP_S)
            if running := self.running():
                self.house.restart_database()
                pid = self.house.wait("its replica", lambda: self.house.replica_pid(running["version"]), 120)
                os.kill(pid, signal.SIGKILL)
            effect = self.loop(None)
        live = self.live()
        expect(live == {effect["version"]: 1.0}, f"version {effect['version']} should serve all requests, not {live}")
        self.house.tell(f"   killed {len(killed)} times; version {effect['version']} serves, as without")
        return {"version": effect["version"], "killed": len(killed), "at": killed, "database": self.house.server is not None}

    def end(self) -> None:
        counted = self.house.stop_client()
        page = self.house.folder / "story.html"
        timeline = self.house.penstock("deployments", "timeline", "story", "--page", str(page))
        roles = Counter(entry["role"] for entry in timeline["entries"])
        expect(all(roles[role] for role in CAUSES), f"the page does not tell of all of {', '.join(CAUSES)}: {dict(roles)}")
        expect(counted["failed"] == 0, f"{counted['failed']} of {counted['asked']} requests failed")
        self.facts["requests"] = {**counted, "page": page.name, "entries": dict(roles)}
        (self.house.folder / "story.json").write_text(json.dumps(self.facts, indent=1))
        self.house.tell(f"{counted['asked']:,} requests by an independent client, {counted['failed']} failed; {page} tells all of it")

    # what is looked at

    def settings(self) -> list[str]:
        margin = f"margin={self.size.margin}"
        wanted = (
            f"train.epochs={self.size.epochs}",
            f"gates.1=not_worse_than(champion, accuracy, {margin})",
            f"react.0.with.gates=['better_than(champion, new.accuracy)', 'not_worse_than(champion, old.accuracy, {margin})']",
        )
        return [word for setting in wanted for word in ("--set", setting)]

    def drift(self) -> dict[str, Any]:
        nothing = {"windows": 0, "windows_over": 0, "over": False, "course": [], "evidence": {}}
        return next((signal for signal in drift_story("story")["signals"] if signal["name"] == "drift.input"), nothing)

    def alerts(self) -> list[dict[str, Any]]:
        """Those of the rule in the file; `signals-missing` is about a machine that is too busy to measure."""
        return [alert for alert in list_alerts(None, everything=False, limit=50)["alerts"] if alert["alert"] == "drift"]

    def named(self) -> tuple[list[str], float] | None:
        """The words that the newest window names, and their share, once most are those of the new intents."""
        named = [word["word"] for word in self.drift()["evidence"].get("words", ())]
        share = self.new_share(named)
        return (named, share) if share > 0.5 else None

    def new_share(self, named: list[str]) -> float:
        """Share of the words that are in more of the new rows than of the known."""
        counts = {}
        for name in ("known", "new"):
            with (self.house.folder / "data" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
                texts = [row["text"] for row in csv.DictReader(file)]
            found = Counter(word for text in texts for word in words(text))
            counts[name] = {word: found[word] / len(texts) for word in named}
        return sum(counts["new"][word] > counts["known"][word] for word in named) / max(len(named), 1)

    def running(self) -> dict[str, Any] | None:
        return next((row for row in rollout_rows() if row["ended_at"] is None), None)

    def steps(self) -> Any:
        """What moves on while the loop turns: reaction, run and its steps, roll-out and its stage."""
        with opened_world() as world:
            reaction, run, rollout = (world.store.resources.list(kind, limit=1)[0] for kind in ("reaction", "run", "rollout"))
        steps = " ".join(f"{name}:{step.phase}" for name, step in RunState.parse(run.status).steps.items())
        return reaction.phase, run.phase, steps, rollout.id, rollout.phase, rollout_row(rollout)["stage"]

    def loop(self, rule: str | None) -> Any:
        """The effect of the newest reaction, of `rule` if that is given, once it is over; Broken unless all went well."""
        self.house.wait("the reaction", lambda: any(rule in (None, row["rule"]) for row in reaction_rows(None)), 120)
        ident = next(row["id"] for row in reaction_rows(None) if rule in (None, row["rule"]))

        def ended() -> Any:
            row = reaction_story(ident)["reaction"]
            return row["ended_at"] is not None and row

        row = self.house.wait("the end of the reaction", ended, LOOP_S)
        expect(row["phase"] == "done", f"the reaction came to nothing: {row['says']}")
        return row["steps"][0]["effect"]

    def over(self, ident: str) -> Any:
        """The roll-out, once it is over."""

        def ended() -> Any:
            row = rollout_story("story")["rollout"]
            return row["id"] == ident and row["ended_at"] is not None and row

        return self.house.wait("the end of the roll-out", ended, LOOP_S)

    def live(self) -> dict[int, float]:
        return {row["version"]: row["weight"] for row in deployment_story("story")["deployment"]["versions"] if row["weight"]}


def main(size: str, folder: Path) -> int:
    house = House(folder)
    with house.open():
        try:
            Story(house, data.SMALL if size == "small" else data.FULL).tell()
        except Broken as error:
            house.tell(f"BROKEN: {error}")
            return 1
    return 0


if __name__ == "__main__":
    given = [*sys.argv[1:], *("full", str(HERE / "run"))[len(sys.argv) - 1 :]]
    sys.exit(main(given[0], Path(given[1]).resolve()))
