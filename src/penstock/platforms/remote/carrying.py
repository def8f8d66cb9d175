"""What a job needs that lies on this machine goes into the artifact store, and the job says where: sources, base models, the user's code.

Inside, `artifact:<digest>/<name>` leads back to files. Of the user's folders only the modules travel that the step's key names.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from penstock.core.digests import digest_file
from penstock.core.errors import SourceUnreadable
from penstock.core.files import told_plainly
from penstock.platforms.contract import JobSpec

if TYPE_CHECKING:
    from penstock.store.artifacts import Artifacts

PREFIX = "artifact:"
EXTERNAL, CODE = "external", "code"


def carried(job: JobSpec, artifacts: Artifacts, scratch: Path) -> JobSpec:
    """The job as a machine elsewhere can run it. Idempotent: what is in the store already is not sent again. Raises SourceUnreadable."""
    external = {digest: _sent(place, artifacts, scratch) for digest, place in job.external.items()}
    code = [folder if folder.startswith(PREFIX) else _code(Path(folder), job, artifacts, scratch) for folder in job.code_path]
    return replace(job, external=external, code_path=tuple(folder for folder in code if folder is not None))


def landed(job: JobSpec, artifacts: Artifacts) -> JobSpec:
    """The job with folders of this machine again, where it runs. Raises ArtifactMissing."""
    external = {digest: str(place_of(place, artifacts) or place) for digest, place in job.external.items()}
    code = tuple(str(place_of(folder, artifacts) or folder) for folder in job.code_path)
    return replace(job, external=external, code_path=code)


def place_of(reference: str, artifacts: Artifacts) -> Path | None:
    """The file or folder that an `artifact:` reference names, fetched and verified; None for any other place."""
    if not reference.startswith(PREFIX):
        return None
    digest, _, inside = reference.removeprefix(PREFIX).partition("/")
    folder = artifacts.materialize(digest)
    return folder / inside if inside else folder


def _sent(place: str, artifacts: Artifacts, scratch: Path) -> str:
    if place.startswith(PREFIX) or ("://" in place and not place.startswith("file://")):
        return place
    path = Path(unquote(urlsplit(place).path)) if place.startswith("file://") else Path(place)
    if not path.exists():
        raise SourceUnreadable(f"{path} does not exist any more", remedy="Put it back, or run again: the plan will use what is there now.")
    if path.is_dir():
        return f"{PREFIX}{artifacts.commit(path, EXTERNAL, {}).digest}"
    with tempfile.TemporaryDirectory(dir=_made(scratch)) as folder:
        _link(path, Path(folder) / path.name)
        return f"{PREFIX}{artifacts.commit(Path(folder), EXTERNAL, {}).digest}/{path.name}"


def _code(folder: Path, job: JobSpec, artifacts: Artifacts, scratch: Path) -> str | None:
    """The modules of a folder that the step's key names, as an artifact; None when none lies there."""
    with tempfile.TemporaryDirectory(dir=_made(scratch)) as place:
        names = list(_named(folder, job.config.get("code") or {}))
        for name in names:
            (Path(place) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, Path(place) / name)
        return f"{PREFIX}{artifacts.commit(Path(place), CODE, {}).digest}" if names else None


def _named(folder: Path, modules: Mapping[str, str]) -> Iterator[str]:
    """Files of the modules whose source is as the key says; where it names none, all modules at the top of the folder."""
    if not modules:
        yield from sorted(path.name for path in folder.glob("*.py"))
    for module, digest in sorted(modules.items()):
        for name in (f"{module.replace('.', '/')}.py", f"{module.replace('.', '/')}/__init__.py"):
            if (folder / name).is_file() and digest_file(folder / name) == digest:
                yield name


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system
        shutil.copyfile(source, target)


def _made(folder: Path) -> Path:
    with told_plainly(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder
