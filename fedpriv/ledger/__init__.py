"""The durable, chained, signed record of what every data set has spent, and the budget that it keeps."""

from __future__ import annotations

from fedpriv.ledger.body import Kind
from fedpriv.ledger.budget import RunCost, Spent
from fedpriv.ledger.bundle import Mismatch, verify_bundle
from fedpriv.ledger.chain import TRANSITIONS, Budget, RoundState, RunState
from fedpriv.ledger.client import ClientLedger
from fedpriv.ledger.countersigned import Checkpoint, Head
from fedpriv.ledger.ledger import Ledger
from fedpriv.ledger.record import RunRecord
from fedpriv.ledger.rows import Row
from fedpriv.ledger.unit import RECORD, check_unit

__all__ = [
    "Budget",
    "Checkpoint",
    "ClientLedger",
    "Head",
    "Kind",
    "Ledger",
    "Mismatch",
    "RECORD",
    "RoundState",
    "Row",
    "RunCost",
    "RunRecord",
    "RunState",
    "Spent",
    "TRANSITIONS",
    "check_unit",
    "verify_bundle",
]
