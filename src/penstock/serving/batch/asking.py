"""Answers of one part of a batch: requests with bounded concurrency to a replica, failures told row by row, order kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from penstock.serving.batch.columns import answers_of, body_of, output_row, text_of
from penstock.serving.batch.outcomes import Outcome, asked, failed, judged, lost, message_of, misshapen, unsendable
from penstock.serving.batch.patient import Patient
from penstock.serving.batch.replica import OwnReplica
from penstock.serving.batch.rows import Row
from penstock.serving.client import Lost
from penstock.spec.steps import PredictConfig


class Refusal(Exception):
    """The replica answered, but not with 200."""

    def __init__(self, status: int, message: str, body: Any) -> None:
        super().__init__(message)
        self.status, self.body = status, body


class Asker:
    """Sends parts to one replica. A replica that dies is started again; a row on which it dies TRIES times has failed."""

    def __init__(self, replica: OwnReplica, config: PredictConfig) -> None:
        self._patient, self._config = Patient(replica), config
        self._places = asyncio.Semaphore(config.concurrency)

    async def part(self, rows: Sequence[Row]) -> list[Outcome]:
        """One outcome for each row, in order."""
        groups = [[row] for row in rows] if self._config.form == "openai" else list(self._groups(rows))
        async with asyncio.TaskGroup() as tasks:
            made = [tasks.create_task(self._group(group)) for group in groups]
        return [outcome for task in made for outcome in task.result()]

    def _groups(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Rows that share a request: those in a row that can be sent, up to the bounds. A row that cannot be sent stands alone."""
        config, group, size = self._config, [], 0  # type: PredictConfig, list[Row], int
        most = 1 if config.path == "/v1/completions" else config.rows_per_request
        for row in rows:
            text = None if row.fault else text_of(row, config)
            bytes_ = 0 if text is None else len(text.encode("utf-8", "replace"))
            if group and (text is None or len(group) == most or size + bytes_ > config.max_payload_bytes):
                yield group
                group, size = [], 0
            if text is None:
                yield [row]
                continue
            group.append(row)
            size += bytes_
        if group:
            yield group

    async def _group(self, rows: list[Row]) -> list[Outcome]:
        async with self._places:
            if self._config.form == "openai":
                return [await self._line(rows[0])]
            return await self._rows(rows)

    async def _rows(self, rows: list[Row]) -> list[Outcome]:
        config = self._config
        if refused := unsendable(rows, config):
            return [refused]
        texts = [str(text_of(row, config)) for row in rows]
        try:
            found = answers_of(await self._asked(config.path, body_of(texts, rows, config)), len(rows), config)
        except (Refusal, Lost, KeyError, TypeError) as error:
            if len(rows) == 1:
                told = misshapen(error) if isinstance(error, (KeyError, TypeError)) else str(error)
                return [failed(rows[0], told, config)]
            return [outcome for row in rows for outcome in await self._rows([row])]  # one bad row fails itself, not its neighbours
        return [Outcome(row, output_row(row, answer, None, config)) for row, answer in zip(rows, found, strict=True)]

    async def _line(self, row: Row) -> Outcome:
        """A line of OpenAI's batch format."""
        order = asked(row, self._config)
        if isinstance(order, Outcome):
            return order
        try:
            return judged(row, 200, await self._asked(order.path, order.body), self._config)
        except Refusal as error:
            return judged(row, error.status, error.body, self._config)
        except Lost as error:
            return lost(row, error.kind, str(error))

    async def _asked(self, path: str, body: bytes) -> Any:
        """The answer's JSON value. Raises Refusal, or Lost when the replica was lost TRIES times over this very request."""
        reply = await self._patient.reply(path, body)
        value = orjson.loads(reply.body)
        if reply.status == 200:
            return value
        raise Refusal(reply.status, f"{reply.status}: {message_of(value)}", value)
