"""Scenes of a watched deployment, and somewhere to send messages to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from penstock.testing.alerts import Scene, scene_of
from penstock.testing.control import Bench
from penstock.testing.receivers import Receiver, receiver


@pytest.fixture
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Scene]]:
    made: list[Bench] = []

    def make(**sections: Any) -> Scene:
        made.append(Bench(tmp_path_factory.mktemp("scene")))
        return scene_of(made[-1], **sections)

    yield make
    for bench in made:
        bench.close()


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as found:
        yield found
