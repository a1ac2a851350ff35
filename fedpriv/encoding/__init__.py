"""Real vectors to integers modulo 2^b and back: fixed point, rotation, rounding, and packing for the wire."""

from __future__ import annotations

from fedpriv.encoding.client_grid import ClientGrid, RoundingMode
from fedpriv.encoding.fixed_point import FixedPoint
from fedpriv.encoding.packing import pack, unpack
from fedpriv.encoding.rotation import Rotation, rotated_tail, walsh_hadamard
from fedpriv.encoding.rounding import StochasticRounding, rounded_square_bound

__all__ = [
    "ClientGrid",
    "FixedPoint",
    "Rotation",
    "RoundingMode",
    "StochasticRounding",
    "pack",
    "rotated_tail",
    "rounded_square_bound",
    "unpack",
    "walsh_hadamard",
]
