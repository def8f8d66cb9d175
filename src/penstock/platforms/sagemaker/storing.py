"""Where SageMaker itself writes: in S3, which the artifacts must lie in too."""

from __future__ import annotations

from penstock.core.errors import PlatformLacks
from penstock.platforms.sagemaker.settings import Settings


def output_of(settings: Settings, store: str) -> str:
    """`s3://…`. Raises PlatformLacks when the artifacts do not lie in S3."""
    if not store.startswith("s3://"):
        raise PlatformLacks(
            f"SageMaker reads and writes S3, and the artifacts lie at {store}",
            remedy="Point PENSTOCK_ARTIFACTS at a bucket that the role of the platform's section can read and write: s3://BUCKET/PREFIX",
        )
    return (settings.bucket or store).rstrip("/")
