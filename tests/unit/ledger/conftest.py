"""A ledger on disk with a clock that can be replayed, and events whose cost is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedpriv.crypto import SigningKey
from fedpriv.dp import PoissonGaussian
from fedpriv.ledger import Ledger

DATASET = "d5" * 32


@pytest.fixture
def dataset() -> str:
    return DATASET


@pytest.fixture
def signer() -> SigningKey:
    return SigningKey.from_seed(bytes(range(32)))


@pytest.fixture
def clock() -> Callable[[], str]:
    ticks = iter(range(10**6))

    def now() -> str:
        tick = next(ticks)
        return f"2026-01-31T{tick // 3600 % 24:02d}:{tick // 60 % 60:02d}:{tick % 60:02d}Z"

    return now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path, signer: SigningKey, clock: Callable[[], str]) -> Iterator[Ledger]:
    with Ledger.open(path, signer, clock) as opened:
        yield opened


@pytest.fixture
def event() -> PoissonGaussian:
    """Ten rounds of it cost epsilon = 0.76 by PLD and 1.33 by RDP at delta = 1e-5."""
    return PoissonGaussian(noise_multiplier=1.0, sampling_rate=0.02)


@pytest.fixture
def heavy() -> PoissonGaussian:
    """At epsilon = 6 and delta = 1e-5, 23 rounds fit by PLD and 14 by the filter."""
    return PoissonGaussian(noise_multiplier=0.8, sampling_rate=0.1)
