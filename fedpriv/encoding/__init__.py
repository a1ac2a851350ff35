"""Real vectors to integers modulo 2^b and back: fixed point, and bit packing for the wire."""

from __future__ import annotations

from fedpriv.encoding.fixed_point import FixedPoint
from fedpriv.encoding.packing import pack, unpack

__all__ = ["FixedPoint", "pack", "unpack"]
