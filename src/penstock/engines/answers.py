"""All answers of one request, run side by side on a lane, as the chunks that its caller reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from penstock.engines.answering import Answer, Piece
from penstock.engines.contract import GenerateRequest, Text
from penstock.engines.lane import Lane
from penstock.engines.stepping import Step, Ticket, Told
from penstock.engines.tally import Tally
from penstock.engines.token_scores import Passage, TokenScore
from penstock.engines.wording import Wording

BLOCK = 32  # tokens; the pipeline's prefix cache shares whole blocks of keys and values


class Answers:
    """`settings` are the pipeline's, one for each answer. With top log-probabilities an answer is shown whole, when it ended.

    The pipeline tells the log-probability of a chosen token, but not of those that were not chosen: these are read afterwards
    from one pass over prompt and answer.
    """

    def __init__(self, lane: Lane, wording: Wording, request: GenerateRequest, ids: Sequence[int], settings: Sequence[Any]) -> None:
        import numpy as np
        import openvino

        self._lane, self._wording, self._request, self._ids = lane, wording, request, ids
        self._queue: asyncio.Queue[Told] = asyncio.Queue()
        self._answers = [Answer(wording, request) for _ in settings]
        self._open = set(range(len(settings)))  # answers of which more is wanted
        self._held, self._told = bool(request.logprobs), request.logprobs == 0  # shown whole at the end; told by the pipeline
        self._made = 0
        loop, prompt = asyncio.get_running_loop(), openvino.Tensor(np.asarray([ids], np.int64))
        self._tickets = [Ticket(prompt, one, loop, at, self._queue) for at, one in enumerate(settings)]

    async def chunks(self, tally: Tally) -> AsyncGenerator[Text]:
        """Text of all answers as it comes. Leaving early cancels what runs."""
        later = self._tickets[1:] if len(self._ids) > BLOCK else []  # they find the prompt in the prefix cache once it was read
        try:
            for ticket in self._tickets[: len(self._tickets) - len(later)]:
                self._lane.stepper.submit(ticket)
            if self._request.echo and not self._held:
                for text in await self._echoes():
                    yield text
            while self._open:
                index, step = await self._queue.get()
                if index not in self._open:
                    continue  # what came between a stop string and the end of its ticket
                if not isinstance(step, Step):
                    self._open.discard(index)
                    raise step
                for ticket in later:
                    self._lane.stepper.submit(ticket)
                later = []
                answer = self._answers[index]
                piece = self._fed(index, answer, step)
                if not self._held:
                    if piece:
                        yield self._text(index, piece, self._made)
                elif answer.done:
                    for text in await self._whole(index, answer):
                        yield text
        finally:
            self._tickets = [ticket for ticket in self._tickets if ticket.index in self._open]
            tally.add(cancelled=1 if self._open else 0)
            for ticket in self._tickets:
                self._lane.stepper.leave(ticket)

    def _fed(self, index: int, answer: Answer, step: Step) -> Piece | None:
        self._made += len(step.ids)
        piece = answer.feed(step.ids, step.finish_reason, [TokenScore(value) for value in step.logprobs] if self._told else ())
        if answer.done:
            self._open.discard(index)
            if step.finish_reason is None:
                self._lane.stepper.leave(self._tickets[index])
        return piece

    async def _whole(self, index: int, answer: Answer) -> list[Text]:
        """The answer, and with `echo` the prompt before it, with their log-probabilities."""
        first = 0 if self._request.echo else len(self._ids)
        [scores] = await self._lane.score([Passage([*self._ids, *answer.ids], first, self._request.logprobs or 0)])
        size = len(self._ids) - first
        whole = Piece(answer.text, answer.reason, answer.kept(scores[size:]))
        echo = [self._text(index, Piece(self._prompt, None, answer.told(self._ids, scores[:size])), 0)] if self._request.echo else []
        return [*echo, self._text(index, whole, self._made)]

    async def _echoes(self) -> list[Text]:
        scores: Sequence[TokenScore] = ()
        if self._told:
            [scores] = await self._lane.score([Passage(self._ids, 0)])
        return [self._text(at, Piece(self._prompt, None, one.told(self._ids, scores)), 0) for at, one in enumerate(self._answers)]

    @property
    def _prompt(self) -> str:
        return self._wording.decode(self._ids) if self._request.prompt is None else self._request.prompt

    def _text(self, index: int, piece: Piece, made: int) -> Text:
        return Text(piece.text, piece.finish_reason, len(self._ids), made, index, piece.logprobs)
