"""Machine types of SageMaker AI. Sizes: EC2's DescribeInstanceTypes. Prices: on-demand training in us-east-1, USD an hour.

Prices were spot-checked against public copies of AWS's list on the day below, not read from the list as a whole: look before you rely on
them. Where copies differed (8 × A100 and newer, Trainium, L40S) none is given rather than guessed.
Spot prices are not listed by AWS for SageMaker: it says how much was saved after a job.
"""

from __future__ import annotations

from penstock.platforms.remote.machines import GIB, Machine

PRICES_OF = "2026-11-29"
PRICES_FROM = "https://aws.amazon.com/sagemaker/ai/pricing/"


def _machine(name: str, cpus: int, gib: int, usd_per_h: float | None, accelerator: str | None = None, count: int = 0) -> Machine:
    return Machine(f"ml.{name}", cpus, gib * GIB, accelerator, count, usd_per_h)


_GENERAL = (
    _machine("m5.large", 2, 8, 0.115),
    _machine("m5.xlarge", 4, 16, 0.23),
    _machine("m5.2xlarge", 8, 32, 0.461),
    _machine("m5.4xlarge", 16, 64, 0.922),
    _machine("m5.12xlarge", 48, 192, 2.765),
    _machine("m5.24xlarge", 96, 384, 5.53),
    _machine("c5.xlarge", 4, 8, 0.204),
    _machine("c5.2xlarge", 8, 16, 0.408),
    _machine("c5.4xlarge", 16, 32, 0.816),
    _machine("c5.9xlarge", 36, 72, 1.836),
    _machine("c5.18xlarge", 72, 144, 3.672),
    _machine("r5.2xlarge", 8, 64, 0.605),
    _machine("r5.4xlarge", 16, 128, 1.21),
    _machine("r5.8xlarge", 32, 256, 2.419),
    _machine("r5.16xlarge", 64, 512, 4.838),
)
_ACCELERATED = (
    _machine("g4dn.xlarge", 4, 16, 0.736, "t4", 1),
    _machine("g4dn.2xlarge", 8, 32, 0.94, "t4", 1),
    _machine("g4dn.4xlarge", 16, 64, 1.505, "t4", 1),
    _machine("g4dn.12xlarge", 48, 192, 4.89, "t4", 4),
    _machine("g5.xlarge", 4, 16, 1.408, "a10g", 1),
    _machine("g5.2xlarge", 8, 32, 1.515, "a10g", 1),
    _machine("g5.4xlarge", 16, 64, 2.03, "a10g", 1),
    _machine("g5.8xlarge", 32, 128, 3.06, "a10g", 1),
    _machine("g5.12xlarge", 48, 192, 7.09, "a10g", 4),
    _machine("g5.48xlarge", 192, 768, 20.36, "a10g", 8),
    _machine("g6.xlarge", 4, 16, 1.006, "l4", 1),
    _machine("g6.2xlarge", 8, 32, 1.222, "l4", 1),
    _machine("g6.12xlarge", 48, 192, 5.752, "l4", 4),
    _machine("g6.48xlarge", 192, 768, 16.688, "l4", 8),
    _machine("g6e.xlarge", 4, 32, None, "l40s", 1),
    _machine("g6e.12xlarge", 48, 384, None, "l40s", 4),
    _machine("g6e.48xlarge", 192, 1536, None, "l40s", 8),
    _machine("p3.2xlarge", 8, 61, 3.825, "v100", 1),
    _machine("p3.8xlarge", 32, 244, 14.688, "v100", 4),
    _machine("p4d.24xlarge", 96, 1152, None, "a100-40gb", 8),
    _machine("p4de.24xlarge", 96, 1152, None, "a100-80gb", 8),
    _machine("p5.48xlarge", 192, 2048, None, "h100-80gb", 8),
    _machine("p5e.48xlarge", 192, 2048, None, "h200", 8),
    _machine("p6-b200.48xlarge", 192, 2048, None, "b200", 8),
    _machine("trn1.2xlarge", 8, 32, None, "trainium1", 1),
    _machine("trn1.32xlarge", 128, 512, None, "trainium1", 16),
    _machine("trn2.48xlarge", 192, 2048, None, "trainium2", 16),
)
TRAINING = (*_GENERAL, *_ACCELERATED)
_NOT_HOSTED = ("ml.r5.8xlarge", "ml.r5.16xlarge")
HOSTING = (
    *(machine for machine in TRAINING if machine.name not in _NOT_HOSTED),
    _machine("inf2.xlarge", 4, 16, 0.99, "inferentia2", 1),
    _machine("inf2.48xlarge", 192, 768, 15.58, "inferentia2", 12),
)
# Of those above, what batch transform does not have.
_NOT_TRANSFORM = (
    *("ml.r5.2xlarge", "ml.r5.4xlarge", "ml.r5.8xlarge", "ml.r5.16xlarge", "ml.p4d.24xlarge", "ml.p4de.24xlarge"),
    *("ml.p5.48xlarge", "ml.p5e.48xlarge", "ml.p6-b200.48xlarge", "ml.trn2.48xlarge"),
)
TRANSFORM = tuple(machine for machine in TRAINING if machine.name not in _NOT_TRANSFORM)
