"""`do: run`: a command of the user's, program and arguments without a shell, once, in the background, with its output kept.

The command runs under a small process of ours (command.py) that outlives the control process and writes down how it ended; it is started
only if its folder is new, so a crash on either side of starting it never runs it twice. What happened is in its environment as
PENSTOCK_REACTION (JSON).
"""

from __future__ import annotations

import json
from pathlib import Path

from penstock.control.detached import lives, start_detached
from penstock.control.reactions.contract import Scene, Turn
from penstock.control.world import World
from penstock.spec.react import With
from penstock.store.resources import Resource

DEFAULT_TIMEOUT_S = 600.0
SOON_S, LOST_S = 0.5, 10.0
SHOWN = 2000  # characters of the output's end


class Run:
    def estimate_usd(self, world: World, deployment: Resource, given: With) -> float:  # noqa: ARG002 (the contract's signature)
        return 0.0

    def act(self, scene: Scene) -> Turn:
        folder = scene.world.home.folder / "reactions" / scene.reaction.id
        state = dict(scene.state)
        if not state:
            return Turn(
                "working", f"starting {_shown(scene.given)}", {"folder": str(folder), "since": scene.world.clock.now()}, after_s=0.0
            )
        if not folder.exists():
            _start(folder, scene)
            return Turn("working", f"{_shown(scene.given)} runs", state, after_s=SOON_S)
        ended = folder / "ended.json"
        if ended.exists():
            found = json.loads(ended.read_bytes())
            tail = (folder / "output").read_bytes()[-SHOWN:].decode(errors="replace")
            effect = {**found, "output": tail}
            if found.get("code") == 0:
                return Turn("done", f"{_shown(scene.given)} ended with 0", state, effect)
            return Turn("failed", f"{_shown(scene.given)}: {found.get('why') or 'it ended with ' + str(found.get('code'))}", state, effect)
        if not _watched(folder) and scene.world.clock.now() - float(state["since"]) > LOST_S:
            return Turn("failed", f"{_shown(scene.given)} was lost: the machine was stopped, or its watcher was killed", state)
        return Turn("working", f"{_shown(scene.given)} runs", state, after_s=SOON_S)


def _start(folder: Path, scene: Scene) -> None:
    spec = scene.reaction.spec
    about = {key: spec[key] for key in ("deployment", "rule", "when", "cause")}
    order = {
        "command": list(scene.given.command or ()),
        "timeout_s": scene.given.timeout or DEFAULT_TIMEOUT_S,
        "about": {"id": scene.reaction.id, **about},
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f".{folder.name}.new")
    fresh.mkdir(exist_ok=True)
    (fresh / "order.json").write_bytes(json.dumps(order).encode())
    fresh.rename(folder)  # appears whole, or not at all
    start_detached(["-m", "penstock.control.reactions.command", str(folder)], folder / "output")


def _watched(folder: Path) -> bool:
    try:
        return lives(int((folder / "pid").read_text()))
    except (OSError, ValueError):
        return False


def _shown(given: With) -> str:
    return (given.command or ("?",))[0]
