"""What a plan is made for: the size of the data and of the model, and whose budget it spends."""

from __future__ import annotations

from dataclasses import dataclass

from fedpriv.federation.config import Config
from fedpriv.federation.workplace import Workplace

__all__ = ["Subject"]


@dataclass(frozen=True, slots=True)
class Subject:
    """All that a plan needs to know beside the configuration; no record, and public.

    Attributes:
        dataset: the data set's name in the server's ledger.
        clients: how many there are.
        records: nominal number of training records, over all clients.
        unit_key: the unit's name in the ledger: ``record``, or for clients a digest of who they are.
        parameters: coordinates of the model that the PEFT method sends in a round.
    """

    dataset: str
    clients: int
    records: int
    unit_key: str
    parameters: int

    @classmethod
    def of(cls, config: Config, work: Workplace) -> Subject:
        """The subject of a plan on loaded data."""
        data = work.dataset
        return cls(
            dataset=data.fingerprint,
            clients=data.clients,
            records=config.privacy.records or len(data.train),
            unit_key="record" if config.unit == "record" else f"client:{data.shares_digest}",
            parameters=work.spec.kind.width(work.manifest, work.spec),
        )
