"""Adapters trained here answer as PEFT merges them, side by side with the base, and come and go while others are answered."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.core.errors import BadInput
from penstock.engines.contract import Chunk, GenerateRequest, Text
from penstock.engines.graph_sizes import graph_sizes
from penstock.engines.lora import read_adapter
from penstock.engines.openvino_decoder import OpenVinoDecoder
from penstock.engines.table import open_engine
from penstock.engines.torch_reference import TorchReference
from penstock.testing.engines import run, texts, whole

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
EXACT = {"inference_precision": "f32", "cache_precision": "f32"}
PROMPTS = ("First Citizen:\n", "The king is", "B")


def trained(base: Path, folder: Path, text: str, modules: list[str], rank: int, *, rslora: bool = False) -> tuple[Path, Path]:
    """Folders of an adapter that saw `text`, and of the base with it merged in."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(7)
    config = LoraConfig(r=rank, lora_alpha=12, target_modules=modules, task_type="CAUSAL_LM", use_rslora=rslora)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    ids = torch.tensor([AutoTokenizer.from_pretrained(base)(text)["input_ids"][:48]] * 4)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(25):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder / "adapter")
    model.merge_and_unload().save_pretrained(folder / "merged")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(base / name, folder / "merged" / name)
    return folder / "adapter", folder / "merged"


@pytest.fixture(scope="module")
def cats(tmp_path_factory: pytest.TempPathFactory, decoder_folder: Path) -> tuple[Path, Path]:
    return trained(decoder_folder, tmp_path_factory.mktemp("cats"), "the cat sat on the mat. " * 9, ["q_proj", "v_proj"], 4)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory, decoder_folder: Path) -> tuple[Path, Path]:
    modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    return trained(decoder_folder, tmp_path_factory.mktemp("digits"), "0123456789 " * 9, modules, 3, rslora=True)


@pytest.fixture
def engine(decoder_bundle: Path) -> Iterator[OpenVinoDecoder]:
    engine = open_engine(decoder_bundle, settings=EXACT)
    assert isinstance(engine, OpenVinoDecoder)
    yield engine
    asyncio.run(engine.close())


def asked(prompt: str, adapter: str | None = None, **more: int) -> GenerateRequest:
    return GenerateRequest(prompt=prompt, max_tokens=24, temperature=0, adapter=adapter, **more)


def merged(folder: Path) -> list[list[Text]]:
    """What transformers says for PROMPTS, with log-probabilities."""

    async def all_of_them() -> list[list[Text]]:
        reference = TorchReference.from_model(folder, "text-generation", 128)
        found = [await texts(reference, asked(prompt, logprobs=2)) for prompt in PROMPTS]
        await reference.close()
        return found

    return run(all_of_them())


def text_of(chunks: list[Text]) -> str:
    return "".join(chunk.text for chunk in chunks)


def test_adapters_answer_as_merged_side_by_side(
    engine: OpenVinoDecoder, decoder_folder: Path, cats: tuple[Path, Path], digits: tuple[Path, Path]
) -> None:
    expected = {name: merged(folder) for name, folder in ((None, decoder_folder), ("cats", cats[1]), ("digits", digits[1]))}
    assert len({text_of(answers[0]) for answers in expected.values()}) == 3, "the adapters change nothing"

    async def interleaved() -> list[list[Text]]:
        await engine.load_adapter("cats", cats[0])
        await engine.load_adapter("digits", digits[0])
        return await asyncio.gather(*(texts(engine, asked(prompt, name, logprobs=2)) for prompt in PROMPTS for name in expected))

    found = run(interleaved())
    for at, chunks in enumerate(found):
        [*_, theirs] = [expected[name][at // 3] for name in list(expected)[: at % 3 + 1]]
        assert text_of(chunks) == text_of(theirs)
        for a, b in zip([one for c in chunks for one in c.logprobs], [one for c in theirs for one in c.logprobs], strict=True):
            assert a.token == b.token
            assert a.logprob == pytest.approx(b.logprob, abs=1e-3)
            assert [name for name, _ in a.top] == [name for name, _ in b.top]


def test_adapters_come_and_go_under_those_who_use_them(engine: OpenVinoDecoder, cats: tuple[Path, Path], digits: tuple[Path, Path]) -> None:
    async def change() -> tuple[str, str, str, str]:
        base = await whole(engine, asked("The"))
        await engine.load_adapter("mine", cats[0])
        await engine.load_adapter("mine", cats[0])
        assert engine.adapters == ["mine"]
        first = await whole(engine, asked("The", "mine"))
        stream = engine.generate(asked("The", "mine"))
        begun: Chunk = await anext(stream)
        await engine.load_adapter("mine", digits[0])
        later = await whole(engine, asked("The", "mine"))
        await engine.unload_adapter("mine")
        await engine.unload_adapter("mine")
        assert isinstance(begun, Text)
        kept = begun.text + text_of([chunk async for chunk in stream if isinstance(chunk, Text)])
        assert await whole(engine, asked("The")) == base
        with pytest.raises(BadInput, match="no adapter 'mine' is loaded"):
            await whole(engine, asked("The", "mine"))
        return base, first, kept, later

    base, first, kept, later = run(change())
    assert kept == first, "an answer changed its adapter on the way"
    assert len({base, first, later}) == 3
    assert engine.adapters == []
    assert engine.metrics()["adapters"] == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"peft_type": "IA3"}, "only LORA"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "biases"),
        ({"r": 0}, "rank 0"),
        (None, "holds no adapter_config.json"),
    ],
)
def test_what_cannot_be_served_is_refused(
    engine: OpenVinoDecoder, cats: tuple[Path, Path], tmp_path: Path, change: dict[str, object] | None, said: str
) -> None:
    folder = tmp_path / "adapter"
    shutil.copytree(cats[0], folder)
    known = json.loads((folder / "adapter_config.json").read_bytes())
    (folder / "adapter_config.json").unlink()
    if change is not None:
        (folder / "adapter_config.json").write_text(json.dumps(known | change))
    with pytest.raises(BadInput, match=said):
        run(engine.load_adapter("broken", folder))
    assert engine.adapters == []


def test_an_adapter_of_another_base_is_refused(engine: OpenVinoDecoder, cats: tuple[Path, Path], tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import load_file, save_file

    for at, (rename, width, said) in enumerate([("layers.7.", 0, "layers.7"), ("layers.0.", 5, "does not fit")]):
        folder = tmp_path / str(at)
        shutil.copytree(cats[0], folder)
        found = load_file(folder / "adapter_model.safetensors")
        wrong = {
            name.replace("layers.0.", rename): np.pad(value, ((0, 0), (0, width if "lora_A" in name else 0)))
            for name, value in found.items()
        }
        save_file(wrong, folder / "adapter_model.safetensors")
        with pytest.raises(BadInput, match=said):
            run(engine.load_adapter("other", folder))


def test_the_graph_tells_its_sizes_without_the_runtime(decoder_bundle: Path, cats: tuple[Path, Path], digits: tuple[Path, Path]) -> None:
    import openvino

    sizes = graph_sizes(decoder_bundle)
    for folder in (cats[0], digits[0]):
        read_adapter(folder).check(sizes)
    nodes = openvino.Core().read_model(decoder_bundle / "openvino_model.xml").get_ordered_ops()
    linear = [node for node in nodes if node.get_type_name() == "MatMul" and "/aten::linear/" in node.get_friendly_name()]
    assert len(linear) == 2 * 7 + 1
    for node in linear:
        module = node.get_friendly_name().removeprefix("__module.").partition("/")[0]
        shapes = (node.input_value(0).get_partial_shape(), node.output(0).get_partial_shape())
        assert sizes[module] == tuple(shape[-1].get_length() for shape in shapes)
