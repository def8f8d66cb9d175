"""The stages by name, with the type of their config."""

from __future__ import annotations

from penstock.core.plugins import Row, Table

STAGES = Table(
    "stage",
    {
        "data": Row("penstock.stages.data.stage:DataStage", "train"),
        "train": Row("penstock.stages.train.stage:TrainStage", "train"),
        "optimize": Row("penstock.stages.optimize.stage:OptimizeStage", "train"),
        "bundle": Row("penstock.stages.bundle.stage:BundleStage"),
        "evaluate": Row("penstock.stages.evaluate.stage:EvaluateStage", "train"),
        "embedder": Row("penstock.stages.optimize.embedder_stage:EmbedderStage", "train"),
        "reference": Row("penstock.stages.reference.stage:ReferenceStage", "monitor"),
        "predict": Row("penstock.serving.batch.stage:PredictStage", "serve"),
        "user": Row("penstock.stages.user.stage:UserStage"),
    },
)

# Kept beside the table, not on the classes, so that planning learns a version without importing torch.
VERSIONS = {
    "data": "1",
    "train": "2",
    "optimize": "1",
    "bundle": "1",
    "evaluate": "1",
    "predict": "1",
    "user": "1",
    "embedder": "1",
    "reference": "1",
}
