"""Conformance of decoders beyond plain text: several answers, log-probabilities, echo, token prompts, penalties, many stop strings."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import pytest

from penstock.core.errors import BadInput
from penstock.engines.contract import Engine, GenerateRequest, Message, OutputFormat, Request, ScoreRequest, Text, TokenLogprob
from penstock.testing.engines import DecoderConformance, chunks, run, texts, whole


def text_of(found: Sequence[Text], index: int = 0) -> str:
    return "".join(chunk.text for chunk in found if chunk.index == index and chunk.completion_tokens)


def told(found: Sequence[Text], index: int = 0) -> list[TokenLogprob]:
    return [one for chunk in found if chunk.index == index for one in chunk.logprobs]


def values(tokens: Sequence[TokenLogprob]) -> list[float]:
    assert all(one.logprob is not None for one in tokens)
    return [one.logprob for one in tokens if one.logprob is not None]


class AnswersConformance(DecoderConformance):
    """`tolerance`: how far a token's log-probability may lie from the same token's, read in another pass."""

    tolerance = 0.1

    def bad(self) -> list[Request]:
        wrong: list[dict[str, Any]] = [
            {"n": 0},
            {"n": 65},
            {"logprobs": -1},
            {"logprobs": 21},
            {"presence_penalty": 2.5},
            {"frequency_penalty": math.nan},
            {"repetition_penalty": 0},
            {"stop": [f"{at}!" for at in range(65)]},
            {"stop": ["x" * 513]},
            {"stop": ["half \udc00"]},
            {"prompt_ids": [1]},
            {"prompt": None, "prompt_ids": [-1]},
            {"prompt": None, "prompt_ids": [1 << 30]},
            {"prompt": None, "messages": [Message("user", "hello")], "echo": True},
            {"tools": [{"type": "function"}]},
            {"adapter": "never loaded"},
            {"output": OutputFormat("regex", 7)},
            {"output": OutputFormat("regex", "(unclosed")},
            {"output": OutputFormat("poem", "a")},  # type: ignore[arg-type]  # what a caller may send
        ]
        return [*super().bad(), *(GenerateRequest(**{"prompt": self.prompt, **one}) for one in wrong)]

    def test_several_answers_are_those_of_the_seeds_that_follow(self, engine: Engine) -> None:
        long = self.prompt * 4

        async def together_and_apart() -> tuple[list[Text], list[str]]:
            together = await texts(engine, GenerateRequest(prompt=long, max_tokens=10, n=3, seed=5))
            return together, [await whole(engine, GenerateRequest(prompt=long, max_tokens=10, seed=5 + at)) for at in range(3)]

        together, apart = run(together_and_apart())
        assert [text_of(together, at) for at in range(3)] == apart
        assert len(set(apart)) > 1
        ends = [chunk for chunk in together if chunk.finish_reason]
        assert sorted(chunk.index for chunk in ends) == [0, 1, 2]
        assert together[-1] is ends[-1]
        assert 3 <= together[-1].completion_tokens <= 30
        assert [chunk.completion_tokens for chunk in together] == sorted(chunk.completion_tokens for chunk in together)

    def test_greedy_answers_are_equal(self, engine: Engine) -> None:
        found = run(texts(engine, self.greedy(8, n=2)))
        assert text_of(found, 0) == text_of(found, 1) != ""

    def test_leaving_ends_all_answers_within_one_step(self, engine: Engine) -> None:
        async def leave() -> tuple[float, float]:
            stream = engine.generate(self.greedy(engine.info.max_length, n=3))
            async for _ in stream:
                break
            await stream.aclose()  # type: ignore[attr-defined]  # engines answer with async generators
            before = engine.metrics()["completion_tokens"]
            await asyncio.sleep(0.2)
            return before, engine.metrics()["completion_tokens"]

        before, after = run(leave())
        assert after <= before + 3, "more than the step that ran was made"
        assert engine.metrics()["cancelled"] == 1
        assert run(chunks(engine, self.simple()))

    def test_logprobs_tell_the_tokens_of_the_text(self, engine: Engine) -> None:
        async def ask() -> tuple[list[Text], list[Text], list[Text]]:
            plain, chosen = await texts(engine, self.greedy(12)), await texts(engine, self.greedy(12, logprobs=0))
            return plain, chosen, await texts(engine, self.greedy(12, logprobs=3))

        plain, chosen, best = run(ask())
        assert not told(plain)
        assert text_of(plain) == text_of(chosen) == text_of(best)
        assert plain[-1].completion_tokens == len(told(chosen)) == len(told(best))
        assert "".join(one.token for one in told(chosen)) == text_of(plain)
        assert values(told(chosen)) == pytest.approx(values(told(best)), abs=self.tolerance)
        for one in told(best):
            ranked = [value for _, value in one.top]
            assert len(ranked) == 3
            assert ranked == sorted(ranked, reverse=True)
            assert ranked[0] == pytest.approx(one.logprob, abs=self.tolerance), "greedy takes the likeliest"
            assert sum(map(math.exp, ranked)) <= 1 + 1e-6
        assert not any(one.top for one in told(chosen))

    def test_logprobs_are_the_models_own_at_any_heat(self, engine: Engine) -> None:
        async def ask() -> tuple[list[Text], list[Text]]:
            hot = await texts(engine, GenerateRequest(prompt=self.prompt, max_tokens=8, temperature=3.0, seed=3, logprobs=0))
            again = GenerateRequest(prompt=self.prompt + text_of(hot), max_tokens=1, temperature=0, logprobs=0, echo=True)
            return hot, await texts(engine, again)

        hot, again = run(ask())
        names, echoed = [one.token for one in told(hot)], again[0].logprobs[-len(told(hot)) :]
        if [one.token for one in echoed] == names:  # text that is read again may fall into other tokens
            assert values(told(hot)) == pytest.approx(values(echoed), abs=self.tolerance)
        assert min(values(told(hot))) < -1

    @pytest.mark.parametrize("logprobs", [None, 0, 2])
    def test_echo_tells_the_prompt_first(self, engine: Engine, logprobs: int | None) -> None:
        found = run(texts(engine, self.greedy(2, echo=True, n=2, logprobs=logprobs)))
        for at in range(2):
            [first, *rest] = [chunk for chunk in found if chunk.index == at]
            assert (first.text, first.completion_tokens, first.finish_reason) == (self.prompt, 0, None)
            assert rest[-1].finish_reason
            assert len(first.logprobs) == (0 if logprobs is None else first.prompt_tokens)
            if logprobs is not None:
                assert first.logprobs[0].logprob is None
                assert all(value < 0 for value in values(first.logprobs[1:]))
                assert all(len(one.top) == logprobs for one in first.logprobs[1:])

    def test_token_prompts_pass_as_they_are(self, engine: Engine) -> None:
        ids = self.ids()

        async def ask() -> tuple[str, list[Text]]:
            by_ids = GenerateRequest(prompt_ids=ids, max_tokens=8, temperature=0, echo=True, logprobs=1)
            return await whole(engine, self.greedy(8)), await texts(engine, by_ids)

        plain, found = run(ask())
        assert found[0].prompt_tokens == len(ids) == len(found[0].logprobs)
        assert found[0].text == self.prompt
        assert text_of(found) == plain

    def test_penalties_turn_the_answer_away_from_what_was_said(self, engine: Engine) -> None:
        async def ask(**more: float) -> int:
            found = await texts(engine, self.greedy(40, logprobs=0, **more))
            return len({one.token for one in told(found)})

        async def all_of_them() -> list[int]:
            return [
                await ask(),
                await ask(presence_penalty=2.0),
                await ask(frequency_penalty=2.0),
                await ask(repetition_penalty=3.0),
                await ask(presence_penalty=-2.0),
            ]

        none, presence, frequency, repetition, liking = run(all_of_them())
        assert min(presence, frequency, repetition) > none
        assert liking <= none

    def test_the_first_of_many_stop_strings_ends_the_answer(self, engine: Engine) -> None:
        full = run(whole(engine, self.greedy()))
        never = [f"never {at}" for at in range(62)]
        found = run(texts(engine, self.greedy(stop=[*never, full[9:12], full[5:8]], logprobs=0)))
        assert text_of(found) == full[: min(full.index(full[9:12]), full.index(full[5:8]))]
        assert "".join(one.token for one in told(found)).startswith(text_of(found))
        assert not told(found) or len("".join(one.token for one in told(found)[:-1])) < len(text_of(found)), "too many are told"

    def ids(self) -> list[int]:
        """The tokens of `prompt`."""
        raise NotImplementedError("a subclass knows the model's tokenizer")


class Seq2SeqConformance(DecoderConformance):
    """For engines that answer a source text instead of going on with it: `max_length` bounds source and answer, each for itself."""

    def bad(self) -> list[Request]:
        asked = [GenerateRequest(prompt=self.prompt, echo=True), GenerateRequest(prompt=self.prompt, adapter="none")]
        return [*super().bad(), *asked, ScoreRequest("a text"), GenerateRequest(prompt=self.prompt, output=OutputFormat("json"))]

    def test_the_answer_ends_where_the_context_does(self, engine: Engine) -> None:
        last = run(texts(engine, self.greedy(engine.info.max_length * 4)))[-1]
        assert last.completion_tokens <= engine.info.max_length

    def test_scores_add_up(self, engine: Engine) -> None:
        """Of log-probabilities: this engine scores its own answers only."""
        found = run(texts(engine, self.greedy(10, logprobs=2)))
        assert "".join(one.token for one in told(found)).startswith(text_of(found))
        assert all(one.top[0][1] == one.logprob for one in told(found))

    def test_nothing_to_score_is_zero(self, engine: Engine) -> None:
        with pytest.raises(BadInput):
            run(chunks(engine, ScoreRequest("")))

    def test_several_answers_are_those_of_the_seeds_that_follow(self, engine: Engine) -> None:
        async def together_and_apart() -> tuple[list[Text], list[str]]:
            together = await texts(engine, GenerateRequest(prompt=self.prompt, max_tokens=10, n=3, seed=5))
            return together, [await whole(engine, GenerateRequest(prompt=self.prompt, max_tokens=10, seed=5 + at)) for at in range(3)]

        together, apart = run(together_and_apart())
        assert [text_of(together, at) for at in range(3)] == apart
        assert len(set(apart)) > 1
