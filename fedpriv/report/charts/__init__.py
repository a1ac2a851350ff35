"""Which charts a report holds, with their captions and their figures as tables; drawn from the JSON alone.

``accounting`` has what was promised and spent, ``rounds`` what happened round by round, ``attack`` what an
attacker may reach and what the audit's did.
"""

from __future__ import annotations

from typing import Any

from fedpriv.report.charts.accounting import clients, delta, epsilon, frontier
from fedpriv.report.charts.attack import canaries, roc, trade_off
from fedpriv.report.charts.chart import Chart
from fedpriv.report.charts.rounds import bound, metric, noise, survivors

__all__ = ["Chart", "charts"]

_ALL = (epsilon, clients, delta, frontier, survivors, noise, bound, metric, trade_off, roc, canaries)


def charts(report: dict[str, Any]) -> dict[str, Chart]:
    """The charts that have something to show, by key: ``epsilon``, ``delta``, ``survivors``, ...."""
    drawn = (draw(report) for draw in _ALL)
    return {chart.key: chart for chart in drawn if chart is not None}
