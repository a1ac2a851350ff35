"""The noise in a sum, through the whole protocol: what is needed and next to no more, whoever vanishes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from parties.small_run import small_config

from fedpriv import dp
from fedpriv.aggregation import Masked, Plain
from fedpriv.crypto import Keystream, SigningKey, digest
from fedpriv.encoding import FixedPoint
from fedpriv.federation.planning.grid import levels as levels_of
from fedpriv.federation.removal import noise_share, surplus
from fedpriv.secagg import UPDATE, Client, SecAggParams, Sum, Vector, run_in_process

N, T, C, SIZE, Z, BITS, SCALE = 9, 6, 1, 20_000, 0.7, 32, 18
STAGES = ("advertise", "share", "upload", "consistency", "unmask")
KEYS = {client: SigningKey.from_seed(bytes([client]) * 32) for client in range(1, N + 1)}
ROSTER = {client: key.public for client, key in KEYS.items()}

PLAN = dp.NoisePlan(
    "distributed", N, T, C, Z, 1 << SCALE, SIZE, 0.1,
    levels=dp.removal_levels(clients=N, min_survivors=T, max_colluders=C),
)  # fmt: skip
GRID = FixedPoint(BITS, N, clip=1.0, scale_log2=SCALE, sensitivity=1 << SCALE, client_bound=1 << 22)
MASKED = Masked(
    SecAggParams.for_cohort(
        N, vectors=[Vector(UPDATE, BITS, SIZE)], max_colluders=C, min_survivors=T, levels=PLAN.levels
    )
)
PLAIN = Plain(N, BITS, SIZE, threshold=T, levels=PLAN.levels)
NEEDED = (Fraction(Z) * (1 << SCALE)) ** 2


def stream(*name: object) -> Keystream:
    return Keystream(digest("tests", *(str(part).encode() for part in name)))


class Federation:
    """Clients whose vectors are their noise and nothing else, for one round after the other."""

    def __init__(self, aggregator: Masked | Plain = MASKED, plan: dp.NoisePlan = PLAN) -> None:
        self.aggregator, self.plan, self.round = aggregator, plan, 0
        self.server = aggregator.server(bytes(16), ROSTER)
        self.clients = {
            client: aggregator.client(
                client, bytes(16), key, ROSTER, stream("rand", client).read, draw_level=self.draw(client)
            )
            for client, key in KEYS.items()
        }

    @staticmethod
    def draw(client: int) -> Callable[[int], bytes]:
        return lambda round_: stream("levels", round_, client).read(32)

    def run(self, vanishing: Mapping[int, str] | None = None) -> tuple[NDArray[np.int64], Sum]:
        """The noise left in the next round's sum, and what the aggregator gave."""
        self.round += 1
        lost = vanishing or {}
        self.server.open_round(self.round, bytes(32), prepare=self.round % 2 == 1)
        for client, party in self.clients.items():
            party.open_round(self.round, bytes(32))
            words = stream("noise", self.round, client).words
            party.set_vectors(GRID.to_residues(noise_share(self.plan, party.level_secrets(), words)))

        def reachable(stage: str, client: int) -> bool:
            return client not in lost or STAGES.index(stage) < STAGES.index(lost[client])

        total = run_in_process(self.server, self.clients, reachable)
        noisy = GRID.centre(total.vectors[UPDATE])
        return GRID.centre(GRID.to_residues(noisy - surplus(self.plan, self.round, total))), total


def check(noise: NDArray[np.int64], survivors: int) -> None:
    # The sample variance of N values has relative standard deviation sqrt(2 / N); five of them fail on right
    # code with probability below 6e-7 a case.
    room = 5 * np.sqrt(2 / noise.size)
    assert abs(noise.var() / PLAN.sum_variance(survivors) - 1) < room
    honest = (survivors - C) * PLAN.kept_variance(survivors)
    assert NEEDED <= honest <= NEEDED * Fraction(21, 20) + survivors


@pytest.mark.parametrize("stage", STAGES)
def test_the_noise_is_what_is_needed_whoever_vanishes_at_whatever_stage(stage: str) -> None:
    federation = Federation()
    late = stage in {"consistency", "unmask"}
    for gone in range(N - T + 1):
        lost = dict.fromkeys(range(2, 2 + gone), stage)
        noise, total = federation.run(lost)
        assert len(total.survivors) == (N if late else N - gone)
        assert (total.level, total.unopened) == (PLAN.level(len(total.survivors)), ())
        check(noise, len(total.survivors))


def test_without_removal_the_noise_would_be_too_much() -> None:
    # What the checks above can see: half as much noise again as is needed.
    federation = Federation()
    _, total = federation.run()
    whole = GRID.centre(total.vectors[UPDATE])
    assert whole.var() > 1.4 * PLAN.sum_variance(N)
    assert total.level == len(PLAN.levels) == 3


def test_removal_subtracts_the_very_integers_that_were_added() -> None:
    federation = Federation()
    noise, total = federation.run({4: "upload"})
    kept = np.zeros(SIZE, dtype=np.int64)
    for client in total.survivors:
        secret = federation.draw(client)(1)
        mine = noise_share(PLAN, chain(client, secret), stream("noise", 1, client).words)
        parts = [np.zeros(SIZE, dtype=np.int64)]
        for level, below in enumerate(chain(client, secret)[: total.level], start=1):
            key = digest("fedpriv noise component v1", level.to_bytes(4, "big"), below)
            parts.append(dp.skellam(PLAN.components[level], SIZE, Keystream(key).words))
        kept += mine - np.sum(parts, axis=0)
    assert np.array_equal(noise, kept)


def chain(client: int, top: bytes) -> list[bytes]:
    """s_1, ..., s_L of round 1, as protocols/secagg/spec.md has them."""
    found = [top]
    for level in range(len(PLAN.levels), 1, -1):
        fields = (1).to_bytes(8, "big"), client.to_bytes(4, "big"), level.to_bytes(4, "big"), found[0]
        found.insert(0, digest("fedpriv secagg v2 level", *fields))
    return found


def test_masked_and_plain_leave_the_same_integers() -> None:
    masked, plain = Federation(), Federation(PLAIN)
    for lost in ({}, {3: "upload"}, {3: "upload", 7: "upload"}):
        one, two = masked.run(lost), plain.run(lost)
        assert np.array_equal(one[0], two[0])
        assert one[1].level_secrets == two[1].level_secrets
        assert one[1].level == two[1].level == PLAN.level(N - len(lost))


class _OtherShares(Client):
    """Shares other level secrets than it draws its noise from."""

    def _deal(self, secrets: object, bundle: object, cohort: object) -> Any:
        return super()._deal(msgspec.structs.replace(secrets, level=b"x" * 32), bundle, cohort)  # type: ignore[arg-type,type-var]


class _OtherSecrets(Client):
    """Commits to, shares and signs for other level secrets than it draws its noise from."""

    def level_secrets(self) -> tuple[bytes, ...]:
        return tuple(digest("tests other", secret) for secret in super().level_secrets())


@pytest.mark.parametrize(("kind", "removed"), [(_OtherShares, 0), (_OtherSecrets, -1)])
def test_a_client_that_lies_about_its_components_makes_more_noise_and_never_less(
    kind: type[Client], removed: int
) -> None:
    federation = Federation()
    federation.clients[6].__class__ = kind
    noise, total = federation.run()
    assert total.unopened == ((6,) if kind is _OtherShares else ())
    excess = PLAN.share_variance - PLAN.kept_variance(N)
    expected = PLAN.sum_variance(N) + (1 - removed) * excess
    assert abs(noise.var() / expected - 1) < 5 * np.sqrt(2 / SIZE)


@pytest.mark.parametrize(
    ("changes", "levels"),
    [
        ({}, (6, 7, 8)),
        ({"secagg__remove_excess": False}, ()),
        ({"trust": "local"}, ()),
        ({"trust": "central"}, ()),
        ({"partition__clients": 8, "secagg__min_survivors": 8}, ()),
        ({"secagg__max_colluders": 2}, (7, 8)),
    ],
)
def test_noise_is_removed_where_shares_add_up_unless_it_is_switched_off(
    tmp_path: Path, changes: dict[str, object], levels: tuple[int, ...]
) -> None:
    assert levels_of(small_config(tmp_path, **changes), 8) == levels


def test_a_plan_without_levels_draws_one_component_and_removes_nothing() -> None:
    without = dp.NoisePlan("distributed", N, T, C, Z, 1 << SCALE, SIZE, 0.1)
    words = stream("once").words
    assert np.array_equal(
        noise_share(without, (), words), dp.skellam(without.share_variance, SIZE, stream("once").words)
    )
    nothing = Sum({UPDATE: np.zeros(SIZE, np.uint64)}, tuple(ROSTER), {})
    assert not surplus(without, 1, nothing).any()
