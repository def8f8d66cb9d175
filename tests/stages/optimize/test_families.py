"""Every family that the optimize stage names: a small one is made, exported in float32, bundled, opened, and asked.

The export's own comparison runs the traced module on both sides, so the answers are held against plain transformers as well.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import polars
import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from penstock.engines.contract import Classified, ClassifyRequest, Engine, GenerateRequest
from penstock.engines.table import open_engine
from penstock.engines.torch_reference import TorchReference
from penstock.spec.steps import BundleConfig, OptimizeConfig
from penstock.stages.bundle.stage import BundleStage
from penstock.stages.optimize.original import DECODERS, ENCODERS
from penstock.stages.optimize.stage import OptimizeStage
from penstock.testing.engines import chunks, texts
from penstock.testing.stages import FolderInputs, run_stage

pytestmark = [
    pytest.mark.models,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:transformers"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:nncf"),
]

Task = Literal["text-classification", "text-generation"]
LINES = [f"The {colour} {animal} runs over hill {at}." for at in range(8) for colour in ("red", "blue") for animal in ("fox", "cow")]
LABELS = ["calm", "quick", "loud"]
CONTEXT, LAYERS, HIDDEN, HEADS, INNER = 40, 2, 64, 2, 96
TOLERANCE = 1e-3
PROMPTS = ("The red fox", "The blue cow runs", "hill 7", "over", "Ω?")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
QWEN_SPLIT = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""


def each(families: Sequence[str], *standing: str) -> list[Any]:
    """All of them; those for which one of `standing` stands are left to `make test TESTS=thorough`."""
    return [family if family in standing else pytest.param(family, marks=pytest.mark.thorough) for family in families]


def between(raw: Tokenizer, begin: str, end: str) -> Tokenizer:
    """`raw` with every text put between two special tokens."""
    known = [(name, raw.token_to_id(name)) for name in (begin, end)]
    raw.post_processor = processors.TemplateProcessing(single=f"{begin} $A {end}", pair=f"{begin} $A {end} $B {end}", special_tokens=known)
    return raw


def wordpiece() -> Tokenizer:
    """As BERT's: lower case, pieces marked ##, [CLS] … [SEP]."""
    raw = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    raw.normalizer, raw.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    raw.train_from_iterator(LINES, trainers.WordPieceTrainer(vocab_size=120, special_tokens=WORDS, show_progress=False))
    return between(raw, "[CLS]", "[SEP]")


def unigram(specials: list[str], unknown: str, begin: str, end: str) -> Tokenizer:
    """As SentencePiece's unigram model, the spaces shown as a low line."""
    raw = Tokenizer(models.Unigram())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=specials, unk_token=unknown, show_progress=False)
    raw.train_from_iterator(LINES, trainer)
    return between(raw, begin, end)


def byte_level(specials: list[str], split: str | None = None) -> Tokenizer:
    """As GPT-2's: BPE over bytes; `split` cuts the text first, as Qwen's does."""
    raw = Tokenizer(models.BPE())
    bytewise = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None)
    cut = [] if split is None else [pre_tokenizers.Split(Regex(split), "isolated")]
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.Sequence([*cut, bytewise]), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=specials, initial_alphabet=alphabet, show_progress=False)
    raw.train_from_iterator(LINES, trainer)
    return raw


def byte_fallback() -> Tokenizer:
    """As Llama's and Mistral's: BPE over pieces with a low line for a space, bytes for what is unknown, <s> in front."""
    first = ["<unk>", "<s>", "</s>", *(f"<0x{at:02X}>" for at in range(256))]
    raw = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.train_from_iterator(LINES, trainers.BpeTrainer(vocab_size=360, special_tokens=first, show_progress=False))
    known = json.loads(raw.to_str())
    known["added_tokens"] = [token for token in known["added_tokens"] if token["id"] < 3]  # the bytes are plain pieces
    raw = Tokenizer.from_str(json.dumps(known))
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(content=" ", left=1, right=0)]
    )
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    return raw


def roberta() -> Tokenizer:
    return between(byte_level(PIECES), "<s>", "</s>")


TOKENIZERS: Mapping[str, Callable[[], Tokenizer]] = {
    "albert": lambda: unigram(["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"], "<unk>", "[CLS]", "[SEP]"),
    "bert": wordpiece,
    "camembert": lambda: unigram(PIECES, "<unk>", "<s>", "</s>"),
    "distilbert": wordpiece,
    "electra": wordpiece,
    "roberta": roberta,
    "xlm-roberta": lambda: unigram(PIECES, "<unk>", "<s>", "</s>"),
    "gpt2": lambda: byte_level(["<|endoftext|>"]),
    "llama": byte_fallback,
    "mistral": byte_fallback,
    "qwen2": lambda: byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"], QWEN_SPLIT),
    "qwen3": lambda: byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"], QWEN_SPLIT),
}
BERT = {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": INNER}
OFFSET = {"max_position_embeddings": CONTEXT + 2, "type_vocab_size": 1}  # the places of RoBERTa begin behind the padding's
LLAMA = {**BERT, "num_key_value_heads": 1, "max_position_embeddings": CONTEXT}
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "albert": {**BERT, "embedding_size": 32, "max_position_embeddings": CONTEXT},
    "bert": {**BERT, "max_position_embeddings": CONTEXT},
    "camembert": {**BERT, **OFFSET},
    "distilbert": {"dim": HIDDEN, "n_layers": LAYERS, "n_heads": HEADS, "hidden_dim": INNER, "max_position_embeddings": CONTEXT},
    "electra": {**BERT, "embedding_size": 32, "max_position_embeddings": CONTEXT},
    "roberta": {**BERT, **OFFSET},
    "xlm-roberta": {**BERT, **OFFSET},
    "gpt2": {"n_embd": HIDDEN, "n_layer": LAYERS, "n_head": HEADS, "n_positions": CONTEXT},
    "llama": LLAMA,
    "mistral": {**LLAMA, "sliding_window": None, "head_dim": 32},
    "qwen2": LLAMA,
    "qwen3": {**LLAMA, "head_dim": 32},
}


def special_ids(raw: Tokenizer) -> dict[str, int]:
    """Of the tokens that begin, end and pad a text, as the model's configuration names them."""
    names = {
        "pad_token_id": ("[PAD]", "<pad>", "<|endoftext|>", "</s>"),
        "bos_token_id": ("[CLS]", "<s>", "<|endoftext|>"),
        "eos_token_id": ("[SEP]", "</s>", "<|im_end|>", "<|endoftext|>"),
    }
    ids = {name: [raw.token_to_id(token) for token in tokens] for name, tokens in names.items()}
    return {name: next(one for one in found if one is not None) for name, found in ids.items()}


def family_model(folder: Path, family: str) -> Path:
    """A model artifact: random weights, wide enough that an arg-max means something."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedTokenizerFast

    raw = TOKENIZERS[family]()
    more = {"num_labels": len(LABELS)} if family in ENCODERS else {}
    config = AutoConfig.for_model(
        family, vocab_size=raw.get_vocab_size(), initializer_range=0.2, **special_ids(raw), **SHAPES[family], **more
    )
    torch.manual_seed(7)
    kind = AutoModelForSequenceClassification if family in ENCODERS else AutoModelForCausalLM
    kind.from_config(config).save_pretrained(folder)
    ends = {f"{name[:3]}_token": raw.id_to_token(at) for name, at in special_ids(raw).items()}
    PreTrainedTokenizerFast(tokenizer_object=raw, **ends).save_pretrained(folder)
    if family in ENCODERS:
        (folder / "labels.json").write_text(json.dumps(LABELS))
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Validation rows of many lengths, the longest longer than any model here reads."""
    folder = tmp_path_factory.mktemp("rows")
    texts = [" ".join(LINES[at : at + 1 + at % 5]) for at in range(len(LINES))]
    polars.DataFrame({"text": LINES}).write_parquet(folder / "train.parquet")
    polars.DataFrame({"text": [*texts, " ".join(LINES)]}).write_parquet(folder / "validation.parquet")
    return folder


def bundled(root: Path, model: Path, rows: Path, task: Task) -> Path:
    """The bundle of an export that is as near to its original as float32 gets."""
    given = FolderInputs({"model": model, "dataset": rows})
    made = run_stage(OptimizeStage(), OptimizeConfig(task=task, rules=()), root / "optimize", given)
    assert made.metrics["agreement"] == 1.0
    assert made.metrics["max_logit_difference"] < TOLERANCE
    assert json.loads((made.outputs.root / "export" / "export.json").read_bytes())["max_length"] == CONTEXT
    again = FolderInputs({"model": model, "dataset": rows, "export": made.outputs.root / "export"})
    return run_stage(BundleStage(), BundleConfig(name="small", task=task), root / "bundle", again).outputs.root / "bundle"


async def classified(engine: Engine, given: Sequence[str]) -> Classified:
    try:
        [found] = await chunks(engine, ClassifyRequest(given))
    finally:
        await engine.close()
    assert isinstance(found, Classified)
    return found


@pytest.mark.parametrize("family", each(ENCODERS, "bert", "roberta"))
def test_an_encoder_answers_as_the_model_it_came_from(tmp_path: Path, rows: Path, family: str) -> None:
    model = family_model(tmp_path / "model", family)
    bundle = bundled(tmp_path, model, rows, "text-classification")
    given = polars.read_parquet(rows / "validation.parquet")["text"].to_list()
    ours = asyncio.run(classified(open_engine(bundle, settings={"inference_precision": "f32"}), given))
    theirs = asyncio.run(classified(TorchReference.from_model(model, "text-classification", CONTEXT), given))
    assert ours.prompt_tokens == theirs.prompt_tokens
    for one, other in zip(ours.rows, theirs.rows, strict=True):
        assert dict(one) == pytest.approx(dict(other), abs=TOLERANCE)
    assert len({json.dumps(sorted(row)) for row in ours.rows}) > len(given) / 2, "the answers do not depend on the texts"


@pytest.mark.parametrize("family", each(DECODERS, "llama"))
def test_a_decoder_writes_as_the_model_it_came_from(tmp_path: Path, rows: Path, family: str) -> None:
    model = family_model(tmp_path / "model", family)
    bundle = bundled(tmp_path, model, rows, "text-generation")
    exact = {"inference_precision": "f32", "cache_precision": "f32"}
    ours = asyncio.run(written(open_engine(bundle, settings=exact)))
    theirs = asyncio.run(written(TorchReference.from_model(model, "text-generation", CONTEXT)))
    assert ours == theirs
    assert any(one for one, _, _ in ours), "no text to compare"


async def written(engine: Engine) -> list[tuple[str, int, int]]:
    """Text, tokens read and tokens written, for some prompts."""
    found = []
    try:
        for prompt in PROMPTS:
            parts = await texts(engine, GenerateRequest(prompt=prompt, max_tokens=12, temperature=0))
            found.append(("".join(one.text for one in parts), parts[-1].prompt_tokens, parts[-1].completion_tokens))
    finally:
        await engine.close()
    return found
