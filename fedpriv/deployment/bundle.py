"""The part of an app that all parties hold alike: configuration, agreement, plan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fedpriv.ckks.mode import AUTHORITY
from fedpriv.crypto import digest, strict_json
from fedpriv.deployment.agreement import Agreement
from fedpriv.errors import DecodeError, IntegrityError
from fedpriv.federation.config import Config, load
from fedpriv.federation.planning.make import read_plan
from fedpriv.federation.planning.plan import Plan

__all__ = ["AGREEMENT", "CONFIG", "PLAN", "Bundle"]

CONFIG, AGREEMENT, PLAN = "config.toml", "agreement.json", "plan.json"


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a party reads out of an app, and trusts as far as its own policy goes.

    Attributes:
        config: of the run.
        agreement: who takes part, with which data and model.
        plan: what the two amount to; its prices are as stated, and nobody's word.
        digest: 32 bytes over all of it, stated prices too.
    """

    config: Config
    agreement: Agreement
    plan: Plan
    digest: bytes

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The bundle in an app's folder.

        Raises:
            UsageError: a file is missing.
            IntegrityError: the three do not belong together.
        """
        config, agreement = load(folder / CONFIG), Agreement.read(folder / AGREEMENT)
        try:
            plan = (folder / PLAN).read_bytes()
            written = strict_json.parse(plan)
        except (OSError, DecodeError) as error:
            raise IntegrityError(f"{folder / PLAN} cannot be read: {error}.") from None
        return cls(
            config=config,
            agreement=agreement,
            plan=read_plan(config, agreement.subject(config), written),
            digest=digest("fedpriv/bundle/v1", bytes.fromhex(config.digest()), agreement.digest(), plan),
        )

    @property
    def roster(self) -> dict[int, bytes]:
        """Every party's public key; the key authority's, where there is one, by number 0."""
        authority = self.agreement.authority
        return {**self.agreement.roster, **({} if authority is None else {AUTHORITY: authority})}
