"""A small T5 trained here, exported by optimum-intel, answers as transformers does and as the suite wants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import polars
import pytest

from penstock.core.digests import digest_file, files_under
from penstock.core.errors import ArtifactCorrupt
from penstock.engines.bundle_file import BundleFile
from penstock.engines.contract import Engine, GenerateRequest
from penstock.engines.openvino_seq2seq import OpenVinoSeq2Seq
from penstock.engines.table import open_engine
from penstock.testing.answers import Seq2SeqConformance, text_of, told, values
from penstock.testing.engines import run, texts

pytestmark = [pytest.mark.models, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the export warns of its own tracing
LENGTH = 96


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, plays: Path) -> Path:
    """A T5 that was taught for some steps to say a line again."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    lines = "\n".join(polars.read_parquet(plays / "train.parquet")["text"].to_list()).splitlines(keepends=True)
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        lines, trainers.BpeTrainer(vocab_size=320, special_tokens=["<pad>", "</s>"], initial_alphabet=alphabet, show_progress=False)
    )
    raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", pad_token="<pad>")
    torch.manual_seed(7)
    shape = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0}
    made = T5ForConditionalGeneration(T5Config(vocab_size=320, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, **shape))
    optimizer, wanted = torch.optim.AdamW(made.parameters(), 3e-3), [line for line in lines if 10 < len(line) < 50]
    for step in range(60):
        given = tokenizer(wanted[step * 16 : step * 16 + 16], return_tensors="pt", padding=True)
        labels = given["input_ids"].masked_fill(given["attention_mask"] == 0, -100)
        made(input_ids=given["input_ids"], attention_mask=given["attention_mask"], labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    folder = tmp_path_factory.mktemp("t5") / "model"
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    from optimum.intel import OVModelForSeq2SeqLM

    folder = tmp_path_factory.mktemp("t5-bundle") / "bundle"
    OVModelForSeq2SeqLM.from_pretrained(model, export=True, compile=False).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((model / "tokenizer.json").read_bytes())
    files = {path.relative_to(folder).as_posix(): digest_file(path) for path in files_under(folder)}
    (folder / "bundle.json").write_bytes(BundleFile("t5", "seq2seq", "openvino-seq2seq", "f32", LENGTH, (), files, {}).data())
    return folder


class TestOpenVinoSeq2Seq(Seq2SeqConformance):
    @pytest.fixture
    def engine(self, bundle: Path) -> Iterator[Engine]:
        engine = open_engine(bundle)
        yield engine
        asyncio.run(engine.close())


def test_greedy_text_token_for_token(bundle: Path, model: Path, plays: Path) -> None:
    import torch
    from transformers import AutoTokenizer, T5ForConditionalGeneration

    prompts = [row[:40] for row in polars.read_parquet(plays / "validation.parquet")["text"].to_list()][:20]
    tokenizer, reference = AutoTokenizer.from_pretrained(model), T5ForConditionalGeneration.from_pretrained(model).eval()

    async def ask() -> list[tuple[str, list[float]]]:
        engine = open_engine(bundle, settings={"inference_precision": "f32"})
        asked = [GenerateRequest(prompt=prompt, max_tokens=48, temperature=0, logprobs=0) for prompt in prompts]
        try:
            found = await asyncio.gather(*(texts(engine, one) for one in asked))
        finally:
            await engine.close()
        return [(text_of(one), values(told(one))) for one in found]

    for prompt, (text, logprobs) in zip(prompts, run(ask()), strict=True):
        with torch.inference_mode():
            found = reference.generate(
                **tokenizer(prompt, return_tensors="pt"),
                max_new_tokens=48,
                do_sample=False,
                output_scores=True,
                return_dict_in_generate=True,
            )
        assert text == tokenizer.decode(found.sequences[0], skip_special_tokens=True)
        scores = [float(one[0].log_softmax(-1)[token]) for one, token in zip(found.scores, found.sequences[0][1:], strict=True)]
        assert logprobs == pytest.approx(scores, abs=1e-3)


def test_a_model_that_cannot_begin_is_refused(bundle: Path, tmp_path: Path) -> None:
    for path in bundle.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for name in ("config.json", "generation_config.json"):
        known = json.loads((tmp_path / name).read_bytes())
        (tmp_path / name).write_text(json.dumps({key: value for key, value in known.items() if key != "decoder_start_token_id"}))
    with pytest.raises(ArtifactCorrupt, match="decoder_start_token_id"):
        OpenVinoSeq2Seq.open(tmp_path, BundleFile("t5", "seq2seq", "openvino-seq2seq", "f32", LENGTH, (), {}, {}), {}, None)
