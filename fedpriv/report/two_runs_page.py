"""The comparison of two runs as one self-contained HTML page, in the style of a report."""

from __future__ import annotations

from fedpriv.report.two_runs import Comparison

__all__ = ["render_comparison"]


def render_comparison(comparison: Comparison) -> str:
    """The page: no script, nothing fetched, everything from the runs escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("fedpriv.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("comparison.html.j2").render(comparison=comparison)
