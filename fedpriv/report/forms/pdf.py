"""The page as a PDF by WeasyPrint (optional, loaded late): A4, tagged (PDF/UA-1), and nothing is fetched."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

from fedpriv.errors import UsageError

__all__ = ["pdf", "require_weasyprint"]

_OR_PRINT = "or open the HTML report in a browser and print it"

_CHART_RULE = re.compile(r"^\.chart [^{}]+\{[^{}]*\}", re.MULTILINE)
_ROOT_RULE = re.compile(r":root \{([^{}]*)\}")
_VARIABLE = re.compile(r"--([\w-]+): ([^;]+);")
_CHART = re.compile(r'<svg class="chart"[^>]*>')


def require_weasyprint() -> Any:
    """The module, or :class:`UsageError` with what to install."""
    try:
        import weasyprint
    except ImportError:
        raise UsageError(
            "a PDF needs WeasyPrint, which is not installed", hint=f"pip install 'fedpriv[pdf]', {_OR_PRINT}"
        ) from None
    except OSError:  # Pango and its kin, which it loads from the system
        raise UsageError(
            "a PDF needs the system library Pango, which WeasyPrint did not find",
            hint=f"install it (on Debian: libpango-1.0-0 and libpangoft2-1.0-0), {_OR_PRINT}",
        ) from None
    return weasyprint


def pdf(page: str) -> bytes:
    """``page``, a self-contained HTML document, printed; the same bytes for the same page and fonts.

    Raises:
        UsageError: WeasyPrint, or a library that it needs, is not installed.
    """
    weasyprint = require_weasyprint()
    style = files("fedpriv.report").joinpath("templates", "print.css").read_text(encoding="utf-8")
    text = _style_charts(page).replace("</head>", f"<style>{style}</style></head>", 1)
    with _quiet():
        nothing = weasyprint.urls.URLFetcher(allowed_protocols=())
        document = weasyprint.HTML(string=text, url_fetcher=nothing)
        printed: bytes = document.write_pdf(pdf_variant="pdf/ua-1")
    return printed


def _style_charts(page: str) -> str:
    """Put the page's rules for charts into each of them, with the colours for paper.

    In a browser an inline drawing takes the style of the page around it; WeasyPrint draws it by its own.
    """
    roots = [dict(_VARIABLE.findall(block)) for block in _ROOT_RULE.findall(page)]
    if not roots:
        return page
    values = roots[0] | roots[-1]  # for screens first, for paper last
    rules = " ".join(_CHART_RULE.findall(page))
    rules = re.sub(r"var\(--([\w-]+)\)", lambda found: values.get(found[1], "#000"), rules)
    return _CHART.sub(lambda found: f"{found[0]}<style>{rules}</style>", page)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without WeasyPrint's remarks on the style sheet's rules for screens."""
    logger = logging.getLogger("weasyprint")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
