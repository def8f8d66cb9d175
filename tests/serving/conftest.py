"""One gateway over two replicas, for tests that leave them as they find them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from penstock.serving.snapshot import Limits, Snapshot
from penstock.testing.serving import SECRET, RunningGateway, Stage, snapshot_of


def two_models(stage: Stage, **settings: object) -> Snapshot:
    """`echo` generates, `intents` classifies, `vectors` embeds; one replica each."""
    generator = stage.replica("gen-1", settings=settings)
    classifier = stage.replica("cls-1", "intents", settings={"task": "text-classification"})
    embedder = stage.replica("emb-1", "vectors", settings={"task": "embedding"})
    snapshot = snapshot_of(1, ("1", 1.0, [generator]))
    others = [snapshot_of(1, ("1", 1.0, [found]), model=name).models[0] for name, found in (("intents", classifier), ("vectors", embedder))]
    return replace(snapshot, models=(*snapshot.models, *others), limits=Limits(max_body_bytes=1 << 20, header_timeout_s=0.6))


@pytest.fixture(scope="package")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with Stage(tmp_path_factory.mktemp("serving")) as stage:
        yield stage.gateway(two_models(stage))


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, headers={"authorization": f"Bearer {SECRET}"}, trust_env=False) as found:
        yield found


@pytest.fixture
def stage(tmp_path: object) -> Iterator[Stage]:
    from pathlib import Path

    with Stage(Path(str(tmp_path))) as found:
        yield found
