"""What every writer of dashboards keeps to: subclass it and give a `writer`."""

from __future__ import annotations

import json

import pytest

from penstock.control.boards.contract import Board, Writer
from penstock.control.boards.table import BOARDS


class WriterConformance:
    @pytest.fixture
    def writer(self) -> Writer:
        raise NotImplementedError

    @pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
    def test_equal_boards_give_equal_texts(self, writer: Writer, board: Board) -> None:
        assert writer.write(board) == writer.write(board)
        assert writer.write(board).endswith("\n")

    @pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
    def test_everything_is_on_it(self, writer: Writer, board: Board) -> None:
        text = writer.write(board)
        wanted = [board.title, *(word for row in board.rows for word in (row.title, *(panel.title for panel in row.panels)))]
        assert [word for word in wanted if json.dumps(word, ensure_ascii=False)[1:-1] not in text] == []

    def test_its_ending_is_one_of_files(self, writer: Writer) -> None:
        assert writer.ending
        assert not writer.ending.startswith(".")
