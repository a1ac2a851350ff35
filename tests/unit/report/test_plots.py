"""Charts: everything that is drawn is inside the drawing, and nothing in a label can become markup."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from fedpriv.report.axes import Axis, ticks
from fedpriv.report.plots import Band, Line, Mark, Rule, bar_chart, line_chart


def numbers(svg: str, attribute: str) -> list[float]:
    return [float(value) for value in re.findall(rf'\b{attribute}="(-?[0-9.]+)"', svg)]


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.52, 0.75), (0, 3.7), (7, 8), (1e-6, 2e-6), (5, 5), (0, 4e9)]
)
def test_ticks_cover_the_range_and_are_few(low: float, high: float) -> None:
    found = ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    assert 1 <= len(found) <= 8
    assert found == sorted(set(found))


@pytest.mark.parametrize(
    "points",
    [
        [(1.0, 2.0)],
        [(1.0, 2.0), (2.0, 2.0)],
        [(float(x), x**0.5) for x in range(1, 1000)],
        [(1.0, -3.0), (40.0, 3.0)],
    ],
)
def test_all_marks_stand_inside_the_drawing(points: list[tuple[float, float]]) -> None:
    svg = line_chart(
        [Line("a", points, markers=True)],
        rules=[Rule("limit", 2.5)],
        x=Axis("round"),
        y=Axis("value"),
        alternative="A line.",
    )
    assert svg.count("<circle") == len(points)
    assert all(0 <= x <= 460 for name in ("x", "x1", "x2", "cx") for x in numbers(svg, name))
    assert all(0 <= y <= 300 for name in ("y", "y1", "y2", "cy") for y in numbers(svg, name))


def test_a_higher_value_is_drawn_higher() -> None:
    svg = line_chart(
        [Line("a", [(1.0, 1.0), (2.0, 2.0)], markers=True)], x=Axis("x"), y=Axis("y"), alternative="A line."
    )
    first, second = numbers(svg, "cy")
    assert second < first


def test_a_short_bar_is_marked_and_shorter() -> None:
    svg = bar_chart(
        [(1, 8), (2, 5)],
        label="clients",
        whole=8,
        x=Axis("round"),
        y=Axis("clients", from_zero=True),
        alternative="Bars.",
    )
    assert svg.count('class="bar short"') == 1
    key, full, short = numbers(svg, "height")
    assert key < short < full


def test_a_label_with_markup_stays_text() -> None:
    hostile = '"><script>alert(1)</script>'
    svg = line_chart(
        [Line(hostile, [(1.0, 1.0)])],
        rules=[Rule(hostile, 1.0)],
        x=Axis(hostile),
        y=Axis(hostile),
        alternative=hostile,
    )
    assert "<script" not in svg
    assert svg.count("&lt;script&gt;") == 5


@pytest.mark.parametrize("place", [(30.0, 0.7), (90.0, 3.0), (1.0, 0.0)])
def test_a_marked_point_widens_the_drawing_and_stands_in_the_legend(place: tuple[float, float]) -> None:
    lines = [Line(f"ε = {e}", [(15.0, e / 9), (60.0, e / 8)], 1 + i) for i, e in enumerate((1, 3, 5, 8))]
    svg = line_chart(
        lines, marks=[Mark("this <plan>", *place)], x=Axis("rounds"), y=Axis("noise"), alternative="words"
    )
    rings = re.findall(r'<circle class="ring" cx="([0-9.]+)" cy="([0-9.]+)"', svg)
    assert len(rings) == 2  # one in the legend
    (_, legend), (x, y) = rings
    assert 66 <= float(x) <= 438
    assert float(legend) + 6.5 < float(y) <= 246
    assert "this &lt;plan&gt;" in svg
    assert {f"s{style}" for style in (1, 2, 3, 4)} <= set(re.findall(r'<polyline class="(s[0-9])"', svg))


def test_on_logarithmic_axes_equal_factors_are_equal_steps_and_zero_stays_inside() -> None:
    svg = line_chart(
        [Line("a", [(0.001, 0.0), (0.01, 0.01), (0.1, 0.1), (1.0, 1.0)], markers=True)],
        bands=[Band("band", [(0.001, 0.0, 0.5), (1.0, 0.5, 1.0)])],
        x=Axis("false alarms", percent=True, log=True),
        y=Axis("found", percent=True, log=True),
        alternative="A line.",
    )
    xs, ys = numbers(svg, "cx"), numbers(svg, "cy")
    assert len({round(b - a) for a, b in pairwise(xs)}) == 1
    assert ys == sorted(ys, reverse=True)
    assert max(ys) <= 246
    corners = re.search(r'<polygon class="b1" points="([^"]+)"', svg)
    assert corners is not None
    assert all(12 <= float(pair.split(",")[1]) <= 246 for pair in corners[1].split())
    assert re.findall(r">([0-9.]+%)<", svg) == [
        "1%",
        "10%",
        "100%",
        "0.1%",
        "1%",
        "10%",
        "100%",
    ]


def test_a_band_without_a_label_is_drawn_and_not_in_the_legend() -> None:
    band = [(0.0, 0.0, 1.0), (1.0, 0.0, 1.0)]
    drawn = [
        line_chart(
            [Line("a", [(0.0, 1.0)])], bands=[Band(label, band)], x=Axis("x"), y=Axis("y"), alternative="A."
        )
        for label in ("", "region")
    ]
    assert ["polygon" in svg for svg in drawn] == [True, True]
    assert [svg.count('class="b1"') for svg in drawn] == [1, 2]
