"""The bundle stage: the bytes to be served, and bundle.json that names each of them by digest."""

from __future__ import annotations

import json
import shutil

from penstock.core.digests import digest_file, files_under
from penstock.core.errors import ArtifactCorrupt, ArtifactMissing, PenstockError
from penstock.core.files import write_atomic
from penstock.engines.bundle_file import NAME, BundleFile, refuse_code
from penstock.spec.steps import BundleConfig
from penstock.stages.contract import Context, Inputs, Metrics, Outputs

MADE_FROM = ("dataset", "export", "model")


class BundleStage:
    name = "bundle"
    version = "1"

    def run(self, config: BundleConfig, inputs: Inputs, outputs: Outputs, context: Context) -> Metrics:
        """Input `export`; the digests of `model` and `dataset` are noted when they are inputs too. Output `bundle`."""
        source = inputs.folder("export")
        refuse_code(source)
        facts = _facts(inputs, config)
        folder = outputs.folder("bundle", "bundle")
        for path in files_under(source):
            target = folder / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        files = {path.relative_to(folder).as_posix(): digest_file(path) for path in files_under(folder)}
        labels = tuple(json.loads((folder / "labels.json").read_bytes())) if "labels.json" in files else ()
        bundle = BundleFile(
            name=config.name,
            task=config.task,
            engine=facts["engine"],
            precision=facts["precision"],
            max_length=int(facts["max_length"]),
            labels=labels,
            files=files,
            made_from=_origins(inputs),
        )
        write_atomic(folder / NAME, bundle.data())
        outputs.describe("bundle", **{name: facts[name] for name in ("task", "engine", "precision", "max_length")})
        size = sum(path.stat().st_size for path in files_under(folder))
        context.log(f"{len(files)} files, {size / 1e6:.1f} MB")
        return {"files": float(len(files)), "size_bytes": float(size)}


def _facts(inputs: Inputs, config: BundleConfig) -> dict[str, str]:
    path = inputs.folder("export") / "export.json"
    if not path.is_file():
        raise ArtifactMissing("the export holds no export.json")
    try:
        facts: dict[str, str] = json.loads(path.read_bytes())
        task = facts["task"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactCorrupt(f"{path} does not read as an export's description ({error})") from error
    if task != config.task:
        raise ArtifactCorrupt(f"the export was made for {task}, the bundle is to serve {config.task}")
    return facts


def _origins(inputs: Inputs) -> dict[str, str]:
    found = {}
    for name in MADE_FROM:
        try:
            found[name] = inputs.digest(name)
        except (PenstockError, KeyError):
            if name == "export":
                raise
    return found
