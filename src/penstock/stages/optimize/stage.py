"""The optimize stage: a trained model becomes the serving engine's form, and is compared with what it came from."""

from __future__ import annotations

from penstock.core.digests import canonical, files_under
from penstock.core.errors import BadInput
from penstock.core.files import write_atomic
from penstock.spec.steps import OptimizeConfig
from penstock.stages.contract import Context, Inputs, Metrics, Outputs
from penstock.stages.optimize.export_encoder import export_encoder
from penstock.stages.optimize.made import Job
from penstock.stages.optimize.original import read_original


class OptimizeStage:
    name = "optimize"
    version = "1"

    def run(self, config: OptimizeConfig, inputs: Inputs, outputs: Outputs, context: Context) -> Metrics:
        """Inputs `model` and `dataset`, output `export` (see stages/README.md)."""
        quantized = [rule for rule in config.rules if rule.quantize]
        if len(quantized) > 1:
            raise BadInput(f"`optimize` quantises {len(quantized)} times; a model can be quantised once")
        told = inputs.meta("model").get("max_length")
        original = read_original(inputs.folder("model"), config.task, told)
        folder = outputs.folder("export", "export")
        job = Job(folder, inputs.folder("dataset"), "int8" if quantized else "f32")
        context.progress(0, 1, "models")
        if config.task == "text-classification":
            made = export_encoder(original, job, context)
        else:
            from penstock.stages.optimize.export_decoder import export_decoder

            made = export_decoder(original, job, context)
        facts = {"task": config.task, "engine": made.engine, "precision": job.precision, "max_length": original.max_length}
        compared = made.comparison.as_json()
        write_atomic(folder / "export.json", canonical({**facts, "comparison": compared}) + b"\n")
        outputs.describe("export", **facts)
        after = (folder / "openvino_model.bin").stat().st_size
        context.log(
            f"{original.weights_bytes / 1e6:.1f} MB -> {after / 1e6:.1f} MB; "
            f"{made.comparison.agreement:.2%} of {made.comparison.positions} arg-max agree with the original"
        )
        context.progress(1, 1, "models")
        return {
            "size_before_bytes": float(original.weights_bytes),
            "size_after_bytes": float(after),
            "size_export_bytes": float(sum(path.stat().st_size for path in files_under(folder))),
            **{name: float(value) for name, value in compared.items()},
            **made.speeds,
        }
