"""Draws the panels of the Grafana dashboard as they are laid out there, from what a real Prometheus answers.

It is not Grafana: of what that can do, this knows what the dashboard uses.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import dates, pyplot
from PIL import Image

from tests import monitoring
from tests.stack.prometheus import Prometheus

mpl.use("agg")
_COLUMNS = 24
_ROW = 0.42
"""Inches of one row of Grafana's grid."""
_WIDTH = 15.0
_GREY, _LINE = "#5a6270", "#d8dce2"
_COLOURS = {"green": "#2e8b57", "orange": "#d9822b", "red": "#c8362b", "blue": "#2f6fb3"}


class Drawing:
    """One picture of the dashboard, of the time between two moments (Unix time)."""

    def __init__(self, prometheus: Prometheus, start: float, end: float) -> None:
        self._prometheus = prometheus
        self._start, self._end = start, end
        self._step = max(1.0, round((end - start) / 240))

    def save(self, dashboard: Mapping[str, Any], path: Path) -> None:
        """Writes a PNG of few colours, so that it is small."""
        height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
        figure = pyplot.figure(figsize=(_WIDTH, height * _ROW), facecolor="#f4f5f7")
        draw = {"stat": self._stat, "timeseries": self._timeseries, "table": self._table, "row": self._row}
        for panel in dashboard["panels"]:
            at = panel["gridPos"]
            box = (at["x"] / _COLUMNS, 1 - (at["y"] + at["h"]) / height, at["w"] / _COLUMNS, at["h"] / height)
            draw[panel["type"]](panel, _background(figure, box, panel["type"] != "row"))
        figure.savefig(path, dpi=96)
        pyplot.close(figure)
        with Image.open(path) as image:
            image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)

    def _row(self, panel: Mapping[str, Any], axes: Any) -> None:
        axes.text(0.005, 0.45, panel["title"], fontsize=13, fontweight="bold", va="center")

    def _stat(self, panel: Mapping[str, Any], axes: Any) -> None:
        _title(axes, panel)
        series = self._prometheus.ask("query", query=_expressions(panel)[0], time=self._end)["result"]
        unit = panel["fieldConfig"]["defaults"]["unit"]
        if not series:
            axes.text(0.5, 0.4, "No data", fontsize=16, ha="center", va="center", color=_GREY)
            return
        value = float(series[0]["value"][1])
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        colour = [step["color"] for step in steps if step["value"] is None or value >= step["value"]][-1]
        axes.text(0.5, 0.4, _text(value, unit), fontsize=26, ha="center", va="center", color=_COLOURS[colour])

    def _timeseries(self, panel: Mapping[str, Any], axes: Any) -> None:
        _title(axes, panel)
        margin = 0.6 / (_WIDTH * panel["gridPos"]["w"] / _COLUMNS)
        inner = axes.inset_axes((margin, 0.27, 0.97 - margin, 0.57))
        unit = panel["fieldConfig"]["defaults"]["unit"]
        stacked = panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
        lines = list(self._lines(panel))
        moments = [datetime.fromtimestamp(self._start + self._step * number, UTC) for number in range(self._points)]
        if stacked and lines:
            rows = [[0.0 if math.isnan(value) else value for value in values] for _, values in lines]
            inner.stackplot(moments, *rows, labels=[name for name, _ in lines], alpha=0.75, step="post")
        else:
            for name, values in lines:
                inner.plot(moments, values, label=name, linewidth=1.4)
        inner.set_ylim(bottom=0)
        if inner.get_ylim()[1] < 1 and unit == "short":
            inner.set_ylim(top=1)
        inner.set_xlim(moments[0], moments[-1])
        inner.yaxis.set_major_formatter(lambda value, _: _text(value, unit))
        inner.set_xticks(moments[:: max(1, self._points // 3)])
        inner.xaxis.set_major_formatter(dates.DateFormatter("%H:%M:%S"))
        inner.tick_params(labelsize=8, colors=_GREY, length=0)
        inner.grid(color=_LINE, linewidth=0.6)
        inner.set_facecolor("none")
        for spine in inner.spines.values():
            spine.set_visible(False)
        if lines:
            axes.legend(
                *inner.get_legend_handles_labels(),
                loc="lower center", ncols=3, fontsize=7.5, frameon=False, handlelength=1.2, borderaxespad=0.2,
            )  # fmt: skip

    @property
    def _points(self) -> int:
        return int((self._end - self._start) // self._step) + 1

    def _lines(self, panel: Mapping[str, Any]) -> Iterator[tuple[str, list[float]]]:
        for target, expression in zip(panel["targets"], _expressions(panel), strict=True):
            found = self._prometheus.ask(
                "query_range", query=expression, start=self._start, end=self._end, step=self._step
            )
            for series in found["result"]:
                name = _legend(target["legendFormat"], series["metric"])
                values = {
                    round((moment - self._start) / self._step): float(value) for moment, value in series["values"]
                }
                yield name, [values.get(number, math.nan) for number in range(self._points)]

    def _table(self, panel: Mapping[str, Any], axes: Any) -> None:
        _title(axes, panel)
        rows = self._rows(panel)
        settings = next(each for each in panel["transformations"] if each["id"] == "organize")["options"]
        hidden, order = settings["excludeByName"], settings.get("indexByName", {})
        named: dict[str, str] = settings["renameByName"]
        columns = [name for name in dict.fromkeys(name for row in rows for name in row) if not hidden.get(name)]
        columns.sort(key=lambda name: order.get(name, len(order)))
        if not rows:
            axes.text(0.5, 0.45, "No data", fontsize=11, ha="center", va="center", color=_GREY)
            return
        texts = {
            override["matcher"]["options"]: override["properties"][0]["value"][0]["options"]
            for override in panel["fieldConfig"]["overrides"]
        }
        heads = [named.get(name, name) for name in columns]
        cells = [
            [
                texts.get(head, {}).get(row.get(name, ""), {}).get("text", row.get(name, ""))
                for head, name in zip(heads, columns, strict=True)
            ]
            for row in rows
        ]
        widths = [max(len(text) for text in column) + 2 for column in zip(heads, *cells, strict=True)]
        starts = [0.015 + 0.97 * sum(widths[:number]) / sum(widths) for number in range(len(widths))]
        for number, row in enumerate([heads, *cells][:9]):
            for start, text in zip(starts, row, strict=True):
                colour = _COLOURS["red"] if text in ("critical", "none") else "#20242b"
                colour = _GREY if number == 0 else colour
                axes.text(start, 0.78 - 0.1 * number, text, fontsize=8.5, va="center", color=colour)

    def _rows(self, panel: Mapping[str, Any]) -> list[dict[str, str]]:
        """One for each set of labels, with the value of each question."""
        rows: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
        for target, expression in zip(panel["targets"], _expressions(panel), strict=True):
            name = "Value" if len(panel["targets"]) == 1 else f"Value #{target['refId']}"
            for series in self._prometheus.ask("query", query=expression, time=self._end)["result"]:
                labels = tuple(sorted(series["metric"].items()))
                rows.setdefault(labels, dict(labels))[name] = _text(float(series["value"][1]), "short")
        return [rows[labels] for labels in sorted(rows)]


def _legend(form: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), form)


def _expressions(panel: Mapping[str, Any]) -> list[str]:
    """Rates over a shorter time than Grafana would choose: the run is one of minutes, scraped each second."""
    return [expression.replace("[5m]", "[30s]") for expression in monitoring.expressions(panel)]


def _background(figure: Any, box: tuple[float, float, float, float], framed: bool) -> Any:
    axes = figure.add_axes((box[0] + 0.002, box[1] + 0.003, box[2] - 0.004, box[3] - 0.006))
    axes.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1), facecolor="white" if framed else "none")
    for spine in axes.spines.values():
        spine.set(visible=framed, color=_LINE)
    return axes


def _title(axes: Any, panel: Mapping[str, Any]) -> None:
    axes.annotate(
        panel["title"], (0, 1), (6, -6), "axes fraction", "offset points", fontsize=9, fontweight="bold", va="top"
    )


def _text(value: float, unit: str) -> str:
    if math.isnan(value):
        return "-"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if 0 < value < 1 else f"{value:.3g} s"
    return f"{value:.3g}" + (" /s" if unit == "ops" else "")
