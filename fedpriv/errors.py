"""Every error that fedpriv raises on purpose, and who is to blame for it.

::

    FedprivError
    ├── UsageError                 the caller asked for something that cannot be done
    │   ├── ConfigError            a key of the configuration file, named
    │   ├── DataError              the data: a missing column, an empty client, an unseen label
    │   └── UnsafeParameters       would run, but would not protect: refused
    ├── BudgetExceeded             the privacy budget of a data set does not allow it
    ├── PeerFault                  another party sent something it must not; ``party`` names it
    │   ├── DecodeError            bytes that are not a message
    │   └── ProtocolViolation      a message that breaks a numbered clause of a spec
    ├── TooFewParties              fewer parties answered than the protocol needs; nothing was revealed
    └── IntegrityError             stored state is not what was written: ledger, checkpoint, adapter

Each carries one sentence that says what happened (``str(error)``) and, where there is something to do about
it, one that says what (``error.hint``).  The command line prints both and leaves with exit status 2.
"""

from __future__ import annotations

__all__ = [
    "BudgetExceeded",
    "ConfigError",
    "DataError",
    "DecodeError",
    "FedprivError",
    "IntegrityError",
    "PeerFault",
    "ProtocolViolation",
    "TooFewParties",
    "UnsafeParameters",
    "UsageError",
]


class FedprivError(Exception):
    """Root of the tree: ``message`` says what happened and why, ``hint`` says what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(FedprivError):
    """The caller asked for something that cannot be done."""


class ConfigError(UsageError):
    """A configuration key is unknown, missing or out of range; ``key`` is its dotted name."""

    def __init__(self, message: str, *, key: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.key = key


class DataError(UsageError):
    """The data cannot be used as the configuration describes them."""


class UnsafeParameters(UsageError):
    """The parameters would run but would not give the protection that they promise."""


class BudgetExceeded(FedprivError):
    """The privacy budget of a data set does not allow what was asked; nothing was spent."""


class PeerFault(FedprivError):
    """Another party misbehaved; ``party`` is its identifier, ``None`` where it cannot be told."""

    def __init__(self, message: str, *, party: int | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.party = party


class DecodeError(PeerFault):
    """Bytes from a peer are not a message of the protocol."""


class ProtocolViolation(PeerFault):
    """A well-formed message breaks a clause of a specification; ``clause`` names it."""

    def __init__(self, message: str, *, clause: str, party: int | None = None, hint: str = "") -> None:
        super().__init__(f"{message} [{clause}]", party=party, hint=hint)
        self.clause = clause


class TooFewParties(FedprivError):
    """Fewer parties answered than the protocol needs; the round ended and revealed nothing."""


class IntegrityError(FedprivError):
    """Stored state is not what was written."""
