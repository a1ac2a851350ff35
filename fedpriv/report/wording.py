"""Figures and names in words: rounding that never flatters, plurals, the adversaries."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Context

__all__ = [
    "adversary",
    "at_most",
    "count",
    "one_in",
    "percent",
    "percent_down",
    "percent_up",
    "rounded_up",
    "scientific",
    "sentence",
    "times",
]

_ADVERSARIES = {
    "server": "The server",
    "authority": "The key authority",
    "recipient": "Whoever receives the model",
    "unmasked": "Whoever sees a single update, secure aggregation broken or not used",
    "peer": "Another client",
}


def rounded_up(value: float | None, decimals: int = 3) -> str:
    """An ε for people: rounded up, so that what is printed is never less than what is true.

    >>> rounded_up(2.9991), rounded_up(3.0), rounded_up(None)
    ('3.000', '3.000', 'no bound')
    """
    if value is None:
        return "no bound"
    scale = 10**decimals
    return f"{math.ceil(value * scale - 1e-9) / scale:.{decimals}f}"


def percent(value: float | None, decimals: int = 1) -> str:
    """A measured share, rounded to the nearest.

    >>> percent(0.0272), percent(None)
    ('2.7%', 'not measured')
    """
    return "not measured" if value is None else f"{value * 100:.{decimals}f}%"


def percent_up(value: float, decimals: int = 2) -> str:
    """An upper limit on a share, rounded up.

    >>> percent_up(0.027201), percent_up(1.0)
    ('2.73%', '100.00%')
    """
    scale = 10**decimals
    return f"{math.ceil(value * 100 * scale - 1e-9) / scale:.{decimals}f}%"


def percent_down(value: float, decimals: int = 2) -> str:
    """A lower limit on a share, rounded down.

    >>> percent_down(0.027299)
    '2.72%'
    """
    scale = 10**decimals
    return f"{math.floor(value * 100 * scale + 1e-9) / scale:.{decimals}f}%"


def count(number: int, noun: str) -> str:
    """``1 client``, ``2 clients``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def scientific(value: float) -> str:
    """A small probability in the usual short form.

    >>> scientific(1e-05), scientific(0.002)
    ('1e-5', '0.002')
    """
    return f"{value:g}".replace("e-0", "e-")


def at_most(value: float) -> str:
    """A small probability to one digit, rounded up.

    >>> at_most(1.49e-07), at_most(1e-05), at_most(9.1e-9)
    ('2e-7', '1e-5', '1e-8')
    """
    up = Context(prec=1, rounding=ROUND_CEILING).create_decimal(repr(float(value)))
    return scientific(float(up))


def times(factor: float) -> str:
    """A factor rounded up to three significant digits."""
    if factor >= 1000:
        digits = 10 ** (math.floor(math.log10(factor)) - 2)
        return f"{math.ceil(factor / digits) * digits:,}"
    decimals = max(0, 2 - math.floor(math.log10(factor)))
    return f"{math.ceil(factor * 10**decimals - 1e-9) / 10**decimals:.{decimals}f}"


def one_in(delta: float) -> str:
    """``1 in 100,000`` for 1e-5; the number is rounded down, so the chance is never understated."""
    return f"1 in {math.floor(1 / delta + 1e-6):,}"


def adversary(name: str) -> str:
    """Who an adversary of the plan is, as the subject of a sentence."""
    return _ADVERSARIES.get(name, name.capitalize())


def sentence(words: str) -> str:
    """``words`` with a capital at the start and a stop at the end."""
    text = words.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
