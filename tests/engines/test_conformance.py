"""The three engines, held to the shipped conformance suite."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from penstock.engines.contract import Engine
from penstock.engines.table import open_engine
from penstock.engines.torch_reference import TorchReference
from penstock.testing.answers import AnswersConformance
from penstock.testing.engines import EncoderConformance

pytestmark = [
    pytest.mark.models,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:transformers"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:nncf"),
]


def used(engine: Engine) -> Iterator[Engine]:
    yield engine
    asyncio.run(engine.close())


class TestOpenVinoEncoder(EncoderConformance):
    @pytest.fixture
    def engine(self, encoder_bundle: Path) -> Iterator[Engine]:
        yield from used(open_engine(encoder_bundle))


class TestOpenVinoEncoderInt8(EncoderConformance):
    @pytest.fixture
    def engine(self, encoder_bundle_int8: Path) -> Iterator[Engine]:
        yield from used(open_engine(encoder_bundle_int8))


class TestTorchEncoder(EncoderConformance):
    @pytest.fixture
    def engine(self, encoder_folder: Path) -> Iterator[Engine]:
        yield from used(TorchReference.from_model(encoder_folder, "text-classification", 64))


class Answers(AnswersConformance):
    folder: Path

    def ids(self) -> list[int]:
        return list(Tokenizer.from_file(str(self.folder / "tokenizer.json")).encode(self.prompt).ids)


class TestOpenVinoDecoder(Answers):
    @pytest.fixture
    def engine(self, decoder_bundle: Path) -> Iterator[Engine]:
        self.folder = decoder_bundle
        yield from used(open_engine(decoder_bundle))


class TestTorchDecoder(Answers):
    tolerance = 1e-4

    @pytest.fixture
    def engine(self, decoder_folder: Path) -> Iterator[Engine]:
        self.folder = decoder_folder
        yield from used(TorchReference.from_model(decoder_folder, "text-generation", 128))
