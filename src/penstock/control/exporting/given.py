"""What a task is given by environment variables, where a pipeline system can put values there and not into arguments; and what it tells.

`PENSTOCK_GIVEN_RUN`: the system's name of this run. `PENSTOCK_GIVEN_NOTE`: the note in the artifact store that names key and outputs
afterwards. `PENSTOCK_GIVEN_INPUT_<n>` and `PENSTOCK_GIVEN_SET_<n>`: `NAME=DIGEST` and `PATH=VALUE`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from penstock.control.exporting.templates import Given, pairs
from penstock.core.errors import BadInput
from penstock.platforms.contract import JobResult

if TYPE_CHECKING:
    from penstock.store.artifacts import Artifacts

RUN, NOTE, INPUT, SET = (f"PENSTOCK_GIVEN_{what}" for what in ("RUN", "NOTE", "INPUT_", "SET_"))
TOLD = "jobs/workflows/"


def note_of(run: str, task: str) -> str:
    """Name of the note that task `task` of a run leaves."""
    return f"{TOLD}{run}/{task}.json"


def given_by(environ: Mapping[str, str]) -> tuple[Given, str]:
    """What is given, and the name of the note. Raises BadInput."""
    if not environ.get(RUN) or not environ.get(NOTE, "").startswith(TOLD):
        raise BadInput(f"--given: {RUN} and {NOTE} (which begins with {TOLD}) are not in the environment")
    inputs, values = (pairs([environ[name] for name in sorted(environ) if name.startswith(prefix)], prefix) for prefix in (INPUT, SET))
    return Given(environ[RUN], inputs, values), environ[NOTE]


def tell_store(result: JobResult, note: str, artifacts: Artifacts) -> None:
    artifacts.put_note(note, json.dumps({"key": result.key, "outputs": dict(result.outputs)}, sort_keys=True).encode())
