"""`do: ask`: a person decides, however long that takes; a yes does what `then` names, or lets the rest of the reaction go on."""

from __future__ import annotations

from penstock.control.reactions.contract import Action, Scene, Turn
from penstock.control.reactions.table import ACTIONS
from penstock.control.world import World
from penstock.spec.react import With
from penstock.store.resources import Resource

LOOK_S = 60.0  # an answer wakes the row


class Ask:
    def estimate_usd(self, world: World, deployment: Resource, given: With) -> float:
        action: Action | None = ACTIONS.load(given.then)() if given.then else None
        return 0.0 if action is None else action.estimate_usd(world, deployment, given)

    def act(self, scene: Scene) -> Turn:
        answer = scene.reaction.spec.get("answer")
        if answer is None:
            return Turn("waiting", question_of(scene.reaction, scene.given), scene.state, after_s=LOOK_S)
        who = f"{answer['by']} said {'yes' if answer['yes'] else 'no'}{': ' + answer['comment'] if answer.get('comment') else ''}"
        if not answer["yes"]:
            return Turn("declined", who, scene.state, {"answer": answer})
        if scene.given.then is None or scene.reaction.spec.get("ask_first"):
            return Turn("done", who, scene.state, {"answer": answer})
        action: Action = ACTIONS.load(scene.given.then)()
        turn = action.act(scene)
        effect = {**turn.effect, "answer": answer}
        return Turn(turn.phase, f"{who}; {turn.says}", turn.state, effect, turn.after_s, turn.cost_usd)


def question_of(reaction: Resource, given: With) -> str:
    """What the person is asked."""
    if (reason := reaction.spec.get("ask_first")) is not None:
        return f"{', '.join(reaction.spec['actions'])}: {reason}; try once more?"
    if given.question:
        return given.question
    return f"{reaction.spec['when']}: {given.then}?" if given.then else f"{reaction.spec['when']}: go on?"
