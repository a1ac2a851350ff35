"""CKKS summation (protocols/ckks/spec.md) as machines without IO.

n clients encrypt vectors of integers under a key that the server does not have; it belongs to an authority or
to a committee of clients, and the server learns the exact sum of those that stayed long enough.  TenSEAL is
imported when the first ring is made, not with this package.
"""

from __future__ import annotations

from fedpriv.ckks.client import Client
from fedpriv.ckks.holder import Holder
from fedpriv.ckks.params import CkksParams
from fedpriv.ckks.ring_params import RingParams
from fedpriv.ckks.server import CkksSum, Server
from fedpriv.ckks.states import ClientState, HolderState, Stage
from fedpriv.ckks.workers import EncryptionWorkers

__all__ = [
    "CkksParams",
    "CkksSum",
    "Client",
    "ClientState",
    "EncryptionWorkers",
    "Holder",
    "HolderState",
    "RingParams",
    "Server",
    "Stage",
]
