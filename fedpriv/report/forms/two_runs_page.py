"""The comparison of two runs as one self-contained HTML page, in the style of a report."""

from __future__ import annotations

from fedpriv.report.forms.page import templates
from fedpriv.report.two_runs import Comparison

__all__ = ["render_comparison"]


def render_comparison(comparison: Comparison) -> str:
    """The page: no script, nothing fetched, everything from the runs escaped."""
    return templates().get_template("comparison.html.j2").render(comparison=comparison)
