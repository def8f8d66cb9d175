"""Boards as files: what Grafana's own types make of them, and that every query is one that Prometheus can read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from penstock.control.boards.contract import Board, Writer
from penstock.control.boards.grafana import Grafana
from penstock.control.boards.table import BOARDS, write_boards
from penstock.control.measures.contract import Level, Quantile, Rate, Ratio
from penstock.control.measures.promql import Scope, query
from penstock.core.errors import BadInput
from penstock.testing.boards import WriterConformance

SCOPE = Scope("m", "1m")


def panels(text: str) -> Iterator[dict[str, Any]]:
    yield from (panel for panel in json.loads(text)["panels"] if panel["type"] != "row")


class TestGrafana(WriterConformance):
    @pytest.fixture
    def writer(self) -> Writer:
        return Grafana()


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_its_own_types_read_it(board: Board) -> None:
    text = Grafana().write(board)
    read = Dashboard.from_json(json.loads(text))
    assert json.loads(json.dumps(read, cls=JSONEncoder)) == json.loads(text)
    assert (read.uid, read.title) == (board.name, board.title)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_panels_fill_their_rows_and_know_their_source(board: Board) -> None:
    found = list(panels(Grafana().write(board)))
    assert [panel["title"] for panel in found] == [panel.title for row in board.rows for panel in row.panels]
    ids = [panel["id"] for panel in json.loads(Grafana().write(board))["panels"]]
    assert len(set(ids)) == len(ids)
    widths: dict[int, int] = {}
    for panel in found:
        place = panel["gridPos"]
        widths[place["y"]] = widths.get(place["y"], 0) + place["w"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            assert 'model="$model"' in target["expr"]
            assert target["legendFormat"]
    assert set(widths.values()) == {24}


def test_every_panel_says_how_to_read_it() -> None:
    for board in BOARDS:
        for row in board.rows:
            for panel in row.panels:
                assert panel.about.endswith("."), panel.title
                assert panel.series


def test_files_are_written_and_written_over(tmp_path: Path) -> None:
    first = write_boards(tmp_path / "boards", "grafana")
    assert [path.name for path in first] == ["penstock-deployment.json", "penstock-signals.json"]
    assert write_boards(tmp_path / "boards", "grafana") == first
    assert len(list((tmp_path / "boards").iterdir())) == 2
    with pytest.raises(BadInput, match=r"no dashboard is called 'graphana'; did you mean 'grafana'\?"):
        write_boards(tmp_path, "graphana")


def test_measures_as_promql() -> None:
    assert query(Level("up_now"), SCOPE) == 'sum (up_now{model="m"})'
    assert query(Level("g", {"a": "~x|y"}, ("a",), "max"), SCOPE) == 'max by (a) (g{model="m",a=~"x|y"})'
    assert query(Rate("c_total", {"a": 'say "no"\\'}), SCOPE) == r'sum (rate(c_total{model="m",a="say \"no\"\\"}[1m]))'
    assert query(Quantile(0.95, "h"), SCOPE) == 'histogram_quantile(0.95, sum by (le) (rate(h_bucket{model="m"}[1m])))'
    ratio = Ratio(Level("a", by=("v",)), Level("b", by=("v",)))
    a, b = 'sum by (v) (a{model="m"})', 'sum by (v) (b{model="m"})'
    assert query(ratio, SCOPE) == f"({a} or 0 * {b}) / ({b} > 0)"
