"""A tokenizer trained on the texts at hand: byte-level BPE (Sennrich et al. 2016; Radford et al. 2019), or one token a character.

Both start from the 256 bytes, so nothing is ever unknown; `characters` only lets bytes merge inside one character.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from penstock.core.errors import BadInput

END = "<|endoftext|>"  # token 0: ends every document, and stands for padding
SMALLEST = 257  # END and the 256 bytes


def train_tokenizer(texts: Sequence[str], kind: Literal["bpe", "characters"], vocabulary: int, context: int) -> Any:
    """A PreTrainedTokenizerFast of at most `vocabulary` tokens. The same texts give the same tokenizer.

    Raises BadInput when `vocabulary` has no room for the bytes.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    if vocabulary < SMALLEST:
        raise BadInput(f"pretrain.vocabulary {vocabulary} has no room for the 256 bytes and {END}; use {SMALLEST} or more")
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind == "bpe")
    single = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.pre_tokenizer = byte_level if kind == "bpe" else pre_tokenizers.Sequence([single, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=END, model_max_length=context)
