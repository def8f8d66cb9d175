"""A chat is rendered by the model's own template; tools are shown where it knows them, and refused where it does not."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from penstock.core.errors import BadInput
from penstock.engines.bundle_file import read_bundle
from penstock.engines.contract import GenerateRequest, Message
from penstock.engines.openvino_decoder import OpenVinoDecoder
from penstock.testing.engines import run, texts

pytestmark = pytest.mark.models
PLAIN = "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}<assistant>"
KNOWING = "{% if tools %}{{ tools | tojson }}{% endif %}" + PLAIN
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def prompt_of(folder: Path, template: str, **more: object) -> str:
    """What the model reads of a chat."""
    (folder / "chat_template.jinja").write_text(template)
    engine = OpenVinoDecoder.open(folder, read_bundle(folder), {}, None)
    request = GenerateRequest(messages=[Message("user", "hi")], max_tokens=1, **more)  # type: ignore[arg-type]

    async def ask() -> str:
        try:
            [*_, last] = await texts(engine, request)
            ids = engine._wording.prompt_ids(request)
            assert last.prompt_tokens == len(ids)
            return engine._wording.decode(ids)
        finally:
            await engine.close()

    return run(ask())


def test_tools_are_shown_by_templates_that_know_them(decoder_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(decoder_bundle, folder)
    assert prompt_of(folder, PLAIN) == prompt_of(folder, KNOWING) == "<user>hi<assistant>"
    shown = prompt_of(folder, KNOWING, tools=[WEATHER])
    assert '"name": "weather"' in shown
    assert shown.endswith("<user>hi<assistant>")
    with pytest.raises(BadInput, match="does not know tools"):
        prompt_of(folder, PLAIN, tools=[WEATHER])


def test_a_model_without_a_template_is_shown_no_tools(decoder_bundle: Path) -> None:
    engine = OpenVinoDecoder.open(decoder_bundle, read_bundle(decoder_bundle), {}, None)

    async def ask() -> None:
        try:
            await texts(engine, GenerateRequest(messages=[Message("user", "hi")], tools=[WEATHER]))
        finally:
            await engine.close()

    with pytest.raises(BadInput, match="no chat template"):
        asyncio.run(ask())
