"""The embedder stage: the sentence encoder by which drift compares texts, as an OpenVINO graph; built once, whatever pipeline asks."""

from __future__ import annotations

from penstock.spec.steps import EmbedderConfig
from penstock.stages.contract import Context, Inputs, Metrics, Outputs


class EmbedderStage:
    name = "embedder"
    version = "1"

    def run(self, config: EmbedderConfig, inputs: Inputs, outputs: Outputs, context: Context) -> Metrics:
        from penstock.stages.optimize.embedder import export_embedder

        folder = outputs.folder("embedder", "embedder")
        facts = export_embedder(inputs.external(config.base_digest), folder, None, True, config.max_length)
        outputs.describe("embedder", base=config.base_digest, dimensions=facts["dimensions"], pooling=facts["pooling"])
        context.log(f"a sentence encoder of {facts['dimensions']} dimensions, {facts['pooling']} pooling")
        return {}
