"""Prompts and chats as token ids for a decoder, and token ids as text, by the model's own fast tokenizer (Rust)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.core.errors import ArtifactCorrupt, ArtifactMissing, BadInput
from penstock.engines.contract import GenerateRequest, Message
from penstock.engines.text_stream import BROKEN

Template = Callable[[Sequence[Message], Sequence[Mapping[str, Any]]], str]  # messages and tools to the prompt

NO_TOOLS = "Leave `tools` out, or describe them in a message."


@dataclass(frozen=True, slots=True)
class Wording:
    """Tokenizer of a model folder. `ends` are the tokens that end a text. `template` renders a chat when the tokenizer has one."""

    tokenizer: Any  # tokenizers.Tokenizer
    max_length: int  # tokens of prompt and answer together
    begin: int | None
    ends: frozenset[int]
    template: Template | None = None
    _names: dict[int, str] = field(default_factory=dict, compare=False)

    @classmethod
    def read(cls, folder: Path, max_length: int, template: Template | None = None) -> Wording:
        """Reads tokenizer.json and generation_config.json or config.json. Raises ArtifactMissing or ArtifactCorrupt."""
        from tokenizers import Tokenizer

        for name in ("tokenizer.json", "config.json"):
            if not (folder / name).is_file():
                raise ArtifactMissing(f"{folder} holds no {name}")
        try:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            known = json.loads((folder / "config.json").read_bytes())
            if (folder / "generation_config.json").is_file():
                known |= json.loads((folder / "generation_config.json").read_bytes())
        except Exception as error:  # the tokenizers library raises bare Exception
            raise ArtifactCorrupt(f"the tokenizer or configuration in {folder} does not read ({error})") from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        ends = known.get("eos_token_id")
        many = ends if isinstance(ends, list) else [] if ends is None else [ends]
        return cls(tokenizer, max_length, known.get("bos_token_id"), frozenset(many), template)

    def prompt_ids(self, request: GenerateRequest) -> list[int]:
        """Ids of the prompt or chat; given ids pass as they are. Raises BadInput when none are there, or no room is left for an answer."""
        if request.prompt_ids:
            ids = self._known(request.prompt_ids)
        elif request.prompt is not None:
            ids = list(self.tokenizer.encode(request.prompt).ids)
        elif self.template is not None:
            ids = list(self.tokenizer.encode(self.template(request.messages, request.tools), add_special_tokens=False).ids)
        elif request.tools:
            raise BadInput(
                "this model has no chat template, so it cannot be shown tools", remedy="Leave `tools` out, or describe them in a message."
            )
        else:
            ids = list(self.tokenizer.encode(plain_chat(request.messages)).ids)
        if not ids and self.begin is not None:
            ids = [self.begin]
        if not ids:
            raise BadInput("the prompt is empty, and this model has no token to begin a text with", remedy="Send at least one character.")
        if len(ids) >= self.max_length:
            raise BadInput(
                f"the prompt has {len(ids)} tokens; this model reads {self.max_length} in all, the answer included",
                remedy="Shorten the prompt.",
            )
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def token_text(self, token: int) -> str:
        """One token as text, its leading space kept; of a token that is a part of a character, its name in the vocabulary."""
        if token not in self._names:
            anchor = self.tokenizer.encode("a", add_special_tokens=False).ids[-1:]  # a decoder may drop a space that begins a text
            before = self.tokenizer.decode(anchor, skip_special_tokens=False)
            text = self.tokenizer.decode([*anchor, token], skip_special_tokens=False)[len(before) :]
            self._names[token] = self.tokenizer.id_to_token(token) or "" if not text or BROKEN in text else text
        return self._names[token]

    def _known(self, ids: Sequence[int]) -> list[int]:
        size = self.tokenizer.get_vocab_size()
        if (wrong := max(ids)) >= size:
            raise BadInput(f"prompt_ids holds {wrong}; this model's vocabulary has {size} tokens")
        return list(ids)


def plain_chat(messages: Sequence[Message]) -> str:
    """A chat for a model whose tokenizer has no template: `role: content`, a line each, then `assistant:`."""
    return "".join(f"{message.role}: {message.content}\n" for message in messages) + "assistant:"
