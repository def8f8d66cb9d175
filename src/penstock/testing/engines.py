"""Conformance of engines: subclass, say how one is opened, and every promise of engines/contract.py is checked.

`EncoderConformance` for labels and embeddings, `DecoderConformance` for text. A subclass gives the fixture `engine`, which
must yield a fresh engine for each test; tests close it themselves where closing is the matter.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from penstock.core.errors import BadInput, EngineClosed
from penstock.engines.contract import (
    Chunk,
    Classified,
    ClassifyRequest,
    Embedded,
    EmbedRequest,
    Engine,
    GenerateRequest,
    Message,
    Request,
    Scored,
    ScoreRequest,
    Text,
)

T = TypeVar("T")
TEXTS = ("my card has not arrived", "what is the exchange rate?", "I was charged twice", "top up failed", "how do I change my PIN")


def run(work: Coroutine[Any, Any, T]) -> T:
    """`work` on an event loop of its own, within a minute."""
    return asyncio.run(asyncio.wait_for(work, 60))


async def chunks(engine: Engine, request: Request) -> list[Chunk]:
    return [chunk async for chunk in engine.generate(request)]


async def texts(engine: Engine, request: GenerateRequest) -> list[Text]:
    found = await chunks(engine, request)
    assert all(isinstance(chunk, Text) for chunk in found)
    return [chunk for chunk in found if isinstance(chunk, Text)]


async def whole(engine: Engine, request: GenerateRequest) -> str:
    return "".join(chunk.text for chunk in await texts(engine, request))


async def longest_wait(work: Coroutine[Any, Any, T]) -> tuple[T, float]:
    """The result of `work`, and the longest time in seconds for which the event loop did not turn meanwhile."""
    task = asyncio.ensure_future(work)
    longest, last = 0.0, time.perf_counter()
    while not task.done():
        await asyncio.sleep(0.001)
        longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
    return task.result(), longest


class EngineConformance:
    """What holds for any engine."""

    refused: Request  # a request of a kind that the engine does not serve

    @pytest.fixture
    def engine(self) -> Engine:
        raise NotImplementedError("a subclass gives the fixture `engine`")

    def simple(self) -> Request:
        raise NotImplementedError

    def bad(self) -> list[Request]:
        raise NotImplementedError

    def test_says_what_it_is(self, engine: Engine) -> None:
        assert engine.info.engine
        assert engine.info.task in ("text-classification", "text-generation", "seq2seq", "embedding")
        assert engine.info.max_length > 0

    def test_refuses_other_kinds_of_request(self, engine: Engine) -> None:
        with pytest.raises(BadInput):
            run(chunks(engine, self.refused))

    def test_refuses_bad_values_and_goes_on(self, engine: Engine) -> None:
        async def all_of_them() -> list[Chunk]:
            for request in self.bad():
                with pytest.raises(BadInput):
                    await chunks(engine, request)
            return await chunks(engine, self.simple())

        assert run(all_of_them())

    def test_metrics_are_numbers_that_grow(self, engine: Engine) -> None:
        before = dict(engine.metrics())
        run(chunks(engine, self.simple()))
        after = engine.metrics()
        assert all(isinstance(value, float) and math.isfinite(value) for value in after.values())
        assert after["requests"] == before.get("requests", 0) + 1
        assert after["waiting"] == 0

    def test_closing_twice_is_closing_once(self, engine: Engine) -> None:
        async def twice() -> None:
            await engine.close()
            await engine.close()

        run(twice())

    def test_after_closing_it_says_so(self, engine: Engine) -> None:
        async def close_and_ask() -> None:
            await engine.close()
            await chunks(engine, self.simple())

        with pytest.raises(EngineClosed):
            run(close_and_ask())

    def test_closing_refuses_those_who_wait(self, engine: Engine) -> None:
        async def close_under_load() -> list[Any]:
            waiting = [asyncio.ensure_future(chunks(engine, self.simple())) for _ in range(400)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await engine.close()
            return await asyncio.gather(*waiting, return_exceptions=True)

        answers = run(close_under_load())
        assert all(isinstance(answer, list | EngineClosed) for answer in answers), [a for a in answers if not isinstance(a, list)][:1]
        assert any(isinstance(answer, EngineClosed) for answer in answers)


class EncoderConformance(EngineConformance):
    refused = GenerateRequest(prompt="Once upon a time")

    def simple(self) -> Request:
        return ClassifyRequest([TEXTS[0]])

    def bad(self) -> list[Request]:
        return [
            ClassifyRequest([]),
            ClassifyRequest(TEXTS[0]),
            ClassifyRequest([TEXTS[0]], top_k=0),
            EmbedRequest([]),
            ClassifyRequest([TEXTS[0], "\ud800"]),
        ]

    async def classified(self, engine: Engine, *given: str, top_k: int | None = None) -> Classified:
        [found] = await chunks(engine, ClassifyRequest(given, top_k))
        assert isinstance(found, Classified)
        return found

    async def embedded(self, engine: Engine, *given: str) -> Embedded:
        [found] = await chunks(engine, EmbedRequest(given))
        assert isinstance(found, Embedded)
        return found

    def test_labels_are_ranked_and_sum_to_one(self, engine: Engine) -> None:
        found = run(self.classified(engine, *TEXTS))
        assert len(found.rows) == len(TEXTS)
        for row in found.rows:
            values = [value for _, value in row]
            assert sorted(label for label, _ in row) == sorted(engine.info.labels)
            assert values == sorted(values, reverse=True)
            assert sum(values) == pytest.approx(1, abs=1e-4)
        assert found.prompt_tokens >= 3 * len(TEXTS)

    @pytest.mark.parametrize("top_k", [1, 3])
    def test_top_k_is_the_beginning_of_all(self, engine: Engine, top_k: int) -> None:
        async def both() -> tuple[Classified, Classified]:
            return await self.classified(engine, TEXTS[0]), await self.classified(engine, TEXTS[0], top_k=top_k)

        every, some = run(both())
        assert len(some.rows[0]) == top_k
        assert [label for label, _ in some.rows[0]] == [label for label, _ in every.rows[0][:top_k]]
        assert some.rows[0][0][1] == pytest.approx(every.rows[0][0][1], abs=1e-5)

    def test_answers_do_not_depend_on_company(self, engine: Engine) -> None:
        many = [f"{text} {'please ' * (at % 7)}" for at, text in enumerate(TEXTS * 8)]

        async def alone_and_together() -> tuple[list[Classified], list[Classified]]:
            alone = [await self.classified(engine, text, top_k=1) for text in many]
            return alone, await asyncio.gather(*(self.classified(engine, text, top_k=1) for text in many))

        alone, together = run(alone_and_together())
        for one, other in zip(alone, together, strict=True):
            assert one.prompt_tokens == other.prompt_tokens
            assert one.rows[0][0][0] == other.rows[0][0][0]
            assert one.rows[0][0][1] == pytest.approx(other.rows[0][0][1], abs=self.tolerance)

    tolerance = 1e-4

    def test_one_big_request_equals_many_small(self, engine: Engine) -> None:
        many = [f"{text} {at}" for at, text in enumerate(TEXTS * 20)]

        async def both() -> tuple[Classified, list[Classified]]:
            return await self.classified(engine, *many, top_k=1), [await self.classified(engine, text, top_k=1) for text in many[:5]]

        big, small = run(both())
        assert len(big.rows) == len(many)
        assert [row[0][0] for row in big.rows[:5]] == [one.rows[0][0][0] for one in small]

    def test_embeddings_have_unit_length_and_sense(self, engine: Engine) -> None:
        found = run(self.embedded(engine, "my card is lost", "I have lost my card", "what is the exchange rate?"))
        near, far = (sum(a * b for a, b in zip(found.vectors[0], found.vectors[at], strict=True)) for at in (1, 2))
        assert all(sum(x * x for x in vector) == pytest.approx(1, abs=1e-3) for vector in found.vectors)
        assert near > far + 0.1

    def test_long_texts_are_cut_and_counted(self, engine: Engine) -> None:
        found = run(self.classified(engine, "lost card " * engine.info.max_length, TEXTS[0], top_k=1))
        assert engine.info.max_length < found.prompt_tokens < engine.info.max_length + 20
        assert engine.metrics()["truncated"] == 1

    def test_odd_texts_are_texts(self, engine: Engine) -> None:
        odd = ("", " ", "\x00", "é" * 500, "🙂🙂", "\ud7ff", "a\nb\tc")
        assert len(run(self.classified(engine, *odd, top_k=1)).rows) == len(odd)

    def test_the_event_loop_turns_while_it_works(self, engine: Engine) -> None:
        many = [f"{text} " * 12 for text in TEXTS * 40]
        run(self.classified(engine, *many[:8]))
        begun = time.perf_counter()
        _, longest = run(longest_wait(self.classified(engine, *many, top_k=1)))
        assert longest < max(0.1, (time.perf_counter() - begun) / 2)

    def test_a_caller_that_leaves_harms_nobody(self, engine: Engine) -> None:
        async def leave() -> Classified:
            gone = [asyncio.ensure_future(self.classified(engine, *TEXTS)) for _ in range(50)]
            stays = asyncio.ensure_future(self.classified(engine, TEXTS[1], top_k=1))
            await asyncio.sleep(0)
            for task in gone:
                task.cancel()
            await asyncio.gather(*gone, return_exceptions=True)
            return await stays

        assert len(run(leave()).rows) == 1


class DecoderConformance(EngineConformance):
    refused = ClassifyRequest([TEXTS[0]])
    prompt = "First Citizen:\n"

    def simple(self) -> Request:
        return GenerateRequest(prompt=self.prompt, max_tokens=8, temperature=0)

    def bad(self) -> list[Request]:
        wrong: list[dict[str, Any]] = [
            {"max_tokens": 0},
            {"max_tokens": -1},
            {"temperature": -0.1},
            {"temperature": math.nan},
            {"top_p": 0},
            {"top_p": 1.5},
            {"top_k": 0},
            {"seed": -1},
            {"stop": [""]},
            {"messages": [Message("user", "hello")]},
            {"prompt": "half \udc00"},
        ]
        asked: list[Request] = [GenerateRequest(**{"prompt": self.prompt, **one}) for one in wrong]
        return [*asked, GenerateRequest(), GenerateRequest(messages=[Message("wizard", "hello")]), GenerateRequest(prompt="long " * 5000)]

    def greedy(self, most: int = 24, **more: Any) -> GenerateRequest:
        return GenerateRequest(prompt=self.prompt, max_tokens=most, temperature=0, **more)

    def test_the_last_chunk_and_only_it_tells_the_end(self, engine: Engine) -> None:
        found = run(texts(engine, self.greedy()))
        assert [chunk.finish_reason is None for chunk in found[:-1]] == [True] * (len(found) - 1)
        assert found[-1].finish_reason in ("stop", "length")
        assert found[-1].prompt_tokens > 0
        assert 1 <= found[-1].completion_tokens <= 24
        assert len(found) > 1, "text did not stream"

    def test_greedy_repeats_alone_and_in_company(self, engine: Engine) -> None:
        async def alone_and_together() -> tuple[str, list[str]]:
            alone = await whole(engine, self.greedy())
            noise = [whole(engine, GenerateRequest(prompt=f"{at} men", max_tokens=12, seed=at)) for at in range(6)]
            return alone, (await asyncio.gather(whole(engine, self.greedy()), whole(engine, self.greedy()), *noise))[:2]

        alone, together = run(alone_and_together())
        assert alone
        assert together == [alone, alone]

    def test_a_seed_repeats_and_seeds_differ(self, engine: Engine) -> None:
        async def sample(seed: int) -> str:
            return await whole(engine, GenerateRequest(prompt=self.prompt, max_tokens=16, temperature=1.0, top_p=0.95, top_k=50, seed=seed))

        async def four() -> list[str]:
            return [await sample(1), *await asyncio.gather(sample(1), sample(2), sample(3))]

        first, again, *others = run(four())
        assert first == again
        assert len({first, *others}) > 1

    def test_max_tokens_is_a_limit(self, engine: Engine) -> None:
        last = run(texts(engine, self.greedy(5)))[-1]
        assert (last.finish_reason, last.completion_tokens) in {("length", 5)} | {("stop", n) for n in range(1, 6)}

    def test_the_answer_ends_where_the_context_does(self, engine: Engine) -> None:
        last = run(texts(engine, self.greedy(engine.info.max_length * 4)))[-1]
        assert last.prompt_tokens + last.completion_tokens <= engine.info.max_length

    def test_stop_strings_are_not_shown(self, engine: Engine) -> None:
        async def with_and_without() -> tuple[str, str, list[Text]]:
            full = await whole(engine, self.greedy())
            part = full[len(full) // 3 :][:3]
            return full, part, await texts(engine, self.greedy(stop=[part, "never in there"]))

        full, part, stopped = run(with_and_without())
        assert "".join(chunk.text for chunk in stopped) == full[: full.index(part)]
        assert stopped[-1].finish_reason == "stop"

    def test_characters_are_never_split(self, engine: Engine) -> None:
        async def hot() -> list[list[Text]]:
            asked = [GenerateRequest(prompt="é🙂", max_tokens=24, temperature=50.0, seed=seed) for seed in range(4)]
            return await asyncio.gather(*(texts(engine, request) for request in asked))

        for found in run(hot()):
            assert not found[-1].text.endswith("\ufffd")
            assert found[-1].finish_reason

    def test_chats_are_answered(self, engine: Engine) -> None:
        asked = GenerateRequest(messages=[Message("system", "Speak."), Message("user", "Who is there?")], max_tokens=6, temperature=0)
        assert run(texts(engine, asked))[-1].prompt_tokens > 4

    def test_leaving_ends_the_work(self, engine: Engine) -> None:
        async def leave() -> tuple[float, float]:
            stream = engine.generate(self.greedy(engine.info.max_length))
            async for _ in stream:
                break
            await stream.aclose()  # type: ignore[attr-defined]  # engines answer with async generators
            await asyncio.sleep(0.2)
            before = engine.metrics()["completion_tokens"]
            await asyncio.sleep(0.2)
            return before, engine.metrics()["completion_tokens"]

        before, after = run(leave())
        assert before == after
        assert engine.metrics()["cancelled"] == 1
        assert run(chunks(engine, self.simple()))

    def test_scores_add_up(self, engine: Engine) -> None:
        sense = "First Citizen:\nBefore we proceed any further, hear me speak.\n"
        noise = "zqx kjv wwq pzz xxq jjk vvq zzx qqp wxz kqj xvz pqw zkx jqv\n"

        async def both() -> list[Scored]:
            found = [chunk for text in (sense, noise, sense * 12) for chunk in await chunks(engine, ScoreRequest(text))]
            assert all(isinstance(one, Scored) for one in found)
            return [one for one in found if isinstance(one, Scored)]

        good, bad, long = run(both())
        assert 0 < good.nats / good.characters < bad.nats / bad.characters
        assert good.tokens < good.characters < len(sense)
        assert long.characters > 11 * len(sense), "a text longer than the context was cut"
        assert long.tokens > engine.info.max_length

    def test_nothing_to_score_is_zero(self, engine: Engine) -> None:
        [found] = run(chunks(engine, ScoreRequest("")))
        assert found == Scored(0.0, 0, 0)
