"""Boards as Grafana dashboards over Prometheus: JSON to import, or to provision from a folder."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

from penstock.control.boards.contract import Board, Panel, Series, Unit
from penstock.control.measures.promql import Scope, query

SCOPE = Scope("$model", "$__rate_interval")
_SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
_UNITS: Mapping[Unit, str] = {
    "requests/s": "reqps",
    "tokens/s": "cps",
    "share": "percentunit",
    "seconds": "s",
    "milliseconds": "ms",
    "USD": "currencyUSD",
    "watts": "watt",
    "cores": "short",
    "bytes": "bytes",
    "number": "short",
}
_WIDTH, _HEIGHT = 24, 8  # of Grafana's grid
_ANSWER = "penstock_traffic_weight"  # every deployment has it, whether asked or not


class Grafana:
    ending = "json"

    def write(self, board: Board) -> str:
        made = (
            dashboard.Dashboard(board.title)
            .uid(board.name)
            .description(board.about)
            .tags(["penstock"])
            .refresh("30s")
            .time("now-3h", "now")
            .timezone("browser")
            .readonly()
            .tooltip(models.DashboardCursorSync.CROSSHAIR)
            .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
            .with_variable(_deployments())
        )
        number = itertools.count(1)
        for row in board.rows:
            made = made.with_row(dashboard.Row(row.title).id(next(number)))
            for panel in row.panels:
                made = made.with_panel(_panel(panel, _WIDTH // len(row.panels)).id(next(number)))
        return json.dumps(made.build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _deployments() -> dashboard.QueryVariable:
    asked = dashboard.QueryVariable("model").label("Deployment").datasource(_SOURCE).query(f"label_values({_ANSWER}, model)")
    return asked.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(models.VariableSort.ALPHABETICAL_ASC)


def _panel(panel: Panel, width: int) -> stat.Panel | timeseries.Panel:
    made = _figure(panel) if panel.look == "figure" else _lines(panel)
    made = made.title(panel.title).description(panel.about).datasource(_SOURCE).unit(_UNITS[panel.unit]).span(width).height(_HEIGHT)
    made = made.min(0.0) if panel.unit != "number" else made
    for number, series in enumerate(panel.series):
        made = made.with_target(_target(series, chr(ord("A") + number)))
    return made


def _figure(panel: Panel) -> stat.Panel:
    made = stat.Panel().reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return made if panel.limit is None else made.thresholds(_limit(panel.limit))


def _lines(panel: Panel) -> timeseries.Panel:
    legend = common.VizLegendOptions().display_mode(common_models.LegendDisplayMode.LIST)
    legend = legend.placement(common_models.LegendPlacement.BOTTOM).show_legend(True)
    tooltip = common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI).sort(common_models.SortOrder.DESCENDING)
    made = timeseries.Panel().legend(legend).tooltip(tooltip).show_points(common_models.VisibilityMode.NEVER)
    made = made.line_width(1.5).fill_opacity(10 if panel.look == "lines" else 40)
    if panel.look == "stacked":
        made = made.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    if panel.limit is not None:
        drawn = common.GraphThresholdsStyleConfig().mode(common_models.GraphTresholdsStyleMode.DASHED)
        made = made.thresholds(_limit(panel.limit)).thresholds_style(drawn)
    return made


def _limit(value: float) -> dashboard.ThresholdsConfig:
    steps = [models.Threshold(value=None, color="green"), models.Threshold(value=value, color="red")]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _target(series: Series, ref: str) -> prometheus.Dataquery:
    named = re.sub(r"\{(\w+)\}", r"{{\1}}", series.named)
    return prometheus.Dataquery().expr(query(series.measure, SCOPE)).legend_format(named).ref_id(ref).datasource(_SOURCE)
