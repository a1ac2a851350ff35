"""What holds of every way of summing: the same residues for the same vectors, over the same survivors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from fedpriv.aggregation import AggregationClient, Aggregator, Ckks, KeyHolder, Masked, Plain
from fedpriv.aggregation.interface import Party
from fedpriv.ckks import CkksParams
from fedpriv.ckks.mode import AUTHORITY
from fedpriv.crypto import Keystream, SigningKey, digest
from fedpriv.errors import IntegrityError, TooFewParties, UsageError
from fedpriv.secagg import UPDATE, SecAggParams, Sum, Vector, run_in_process

CLIENTS, BITS, DIMENSION, BOUND, LEAST = 5, 20, 30, 40_000, 3
RUN_ID = bytes(range(16))


def encrypted(mode: str, *, malicious: bool = True) -> Ckks:
    params = CkksParams.for_sum(
        mode=mode,  # type: ignore[arg-type]
        clients=CLIENTS,
        dimension=DIMENSION,
        bound=BOUND,
        min_survivors=LEAST,
        malicious=malicious,
        sums_per_key=2,
    )
    return Ckks(params, BITS)


def masked() -> Masked:
    vectors = [Vector(UPDATE, BITS, DIMENSION)]
    return Masked(SecAggParams.for_cohort(CLIENTS, vectors=vectors, min_survivors=4))


WAYS: Mapping[str, Callable[[], Aggregator]] = {
    "plain": lambda: Plain(CLIENTS, BITS, DIMENSION, threshold=LEAST),
    "masked": masked,
    "ckks, authority": lambda: encrypted("authority"),
    "ckks, threshold": lambda: encrypted("threshold"),
    "ckks, threshold, semi-honest": lambda: encrypted("threshold", malicious=False),
    "ckks, shared-key": lambda: encrypted("shared-key"),
}


class Parties:
    """All parties of a run, with fixed entropy."""

    def __init__(self, aggregator: Aggregator, *, run_id: bytes = RUN_ID) -> None:
        parties = (*((AUTHORITY,) if aggregator.has_authority else ()), *range(1, CLIENTS + 1))
        self.keys = {party: SigningKey.from_seed(bytes([party]) * 32) for party in parties}
        self.roster = {party: key.public for party, key in self.keys.items()}
        self.rands = {party: _rand(party) for party in parties}
        self.aggregator, self.run_id, self.round = aggregator, run_id, 0
        self.server = aggregator.server(run_id, self.roster)
        self.clients = {party: self.client(party) for party in parties if party != AUTHORITY}
        self.authority = {AUTHORITY: self.holder()} if aggregator.has_authority else {}

    def client(self, party: int) -> AggregationClient:
        """A fresh client."""
        return self.aggregator.client(party, self.run_id, self.keys[party], self.roster, self.rands[party])

    def holder(self) -> KeyHolder:
        """A fresh authority."""
        assert isinstance(self.aggregator, Ckks)
        return self.aggregator.authority(
            self.run_id, self.keys[AUTHORITY], self.roster, self.rands[AUTHORITY]
        )

    def sum(
        self, vectors: Mapping[int, NDArray[np.uint64]], gone: tuple[int, ...] = (), since: str = ""
    ) -> Sum:
        """A round; those that are ``gone`` answer nothing from the stage ``since`` on, or at all."""
        self.round += 1
        context = digest("a round", bytes([self.round]))
        # The second round begins with keys that were made ahead, where a way of summing has such.
        self.server.open_round(self.round, context, prepare=self.round == 1)
        for holder in self.authority.values():
            holder.open_round(self.round, context)
        for party, client in self.clients.items():
            client.open_round(self.round, context)
            client.set_vectors(vectors[party])
        stages = self.aggregator.stages
        lost = stages[stages.index(since) if since else 0 :]
        return run_in_process(
            self.server,
            {**self.clients, **self.authority},
            lambda stage, party: party not in gone or stage not in lost,
        )


class Short:
    """A party of which only its saved state, and the number beside it, outlive a message."""

    def __init__(self, fresh: Callable[[], Party], stage: Callable[[], str]) -> None:
        self._fresh, self._stage = fresh, stage
        self.state, self.sequence = b"", 0
        self._vector: NDArray[np.uint64] | None = None

    def _party(self) -> Party:
        party = self._fresh()
        if self.state:
            party.restore(self.state, least_sequence=self.sequence)
        assert party.sequence == self.sequence
        return party

    def _keep(self, party: Party) -> None:
        assert party.sequence > self.sequence
        self.state, self.sequence = party.save(), party.sequence

    def open_round(self, round_: int, context: bytes) -> None:
        party = self._party()
        party.open_round(round_, context)
        self._keep(party)

    def set_vectors(self, vectors: NDArray[np.uint64]) -> None:
        self._vector, self.levels = vectors, self._party().level_secrets()  # type: ignore[attr-defined]

    def handle(self, request: bytes) -> Iterator[bytes]:
        party = self._party()
        if self._stage() == "upload":
            party.set_vectors(self._vector)  # type: ignore[attr-defined]
        answer = party.handle(request)
        self._keep(party)
        return answer


def short_lived(aggregator: Aggregator) -> Parties:
    """The parties of a run whose every message reaches a new process, as it were."""
    parties = Parties(aggregator)

    def stage() -> str:
        return parties.server.stage

    for client in parties.clients:
        parties.clients[client] = Short(partial(parties.client, client), stage)  # type: ignore[assignment]
    for holder in parties.authority:
        parties.authority[holder] = Short(parties.holder, stage)  # type: ignore[assignment]
    return parties


def _rand(party: int) -> Callable[[int], bytes]:
    return Keystream(digest("entropy of a test", bytes([party]))).read


def residues(values: NDArray[np.int64]) -> NDArray[np.uint64]:
    return values.astype(np.int64).view(np.uint64) & np.uint64((1 << BITS) - 1)


def vectors(seed: int) -> dict[int, NDArray[np.int64]]:
    """Random values, and both extremes and zero at every client alike in the first three coordinates."""
    rng = np.random.default_rng(seed)
    found = {c: rng.integers(-BOUND, BOUND + 1, DIMENSION) for c in range(1, CLIENTS + 1)}
    for values in found.values():
        values[:3] = BOUND, -BOUND, 0
    return found


@pytest.mark.parametrize("way", WAYS)
def test_the_sum_of_all_and_of_those_that_stay_is_the_integer_sum_modulo_the_modulus(way: str) -> None:
    parties = Parties(WAYS[way]())
    assert parties.aggregator.name == way.partition(",")[0]
    for seed, gone in enumerate(((), (4,), ())):  # the third makes a new key where two sums used the first up
        values = vectors(seed)
        total = parties.sum({c: residues(v) for c, v in values.items()}, gone)
        stayed = tuple(c for c in values if c not in gone)
        assert total.survivors == stayed
        assert np.array_equal(total.vectors[UPDATE], residues(sum(values[c] for c in stayed)))
        assert total.level == 0
        assert set(total.answered) <= set(parties.aggregator.stages)


@pytest.mark.parametrize("way", WAYS)
def test_too_few_that_stay_give_no_sum_and_the_next_round_goes_on(way: str) -> None:
    parties = Parties(WAYS[way]())
    values = vectors(7)
    sent = {c: residues(v) for c, v in values.items()}
    with pytest.raises(TooFewParties):
        parties.sum(sent, gone=(1, 2, 3))
    assert np.array_equal(parties.sum(sent).vectors[UPDATE], residues(sum(values.values())))


LAST = [(way, WAYS[way]().stages[-1]) for way in WAYS]
EARLIER = [
    pytest.param(way, stage, marks=pytest.mark.slow)
    for way in WAYS
    for stage in ("", *WAYS[way]().stages[:-1])
]


@pytest.mark.parametrize(("way", "since"), [*LAST, *EARLIER])
def test_parties_that_live_for_one_message_each_give_the_same_sums(way: str, since: str) -> None:
    """Three rounds, the second without one client or holder from some stage on; two sums use a key up."""
    lasting, short = Parties(WAYS[way]()), short_lived(WAYS[way]())
    for seed in range(3):
        sent = {c: residues(v) for c, v in vectors(seed).items()}
        gone = (4,) if since and seed == 1 else ()
        one, other = lasting.sum(sent, gone, since), short.sum(sent, gone, since)
        assert np.array_equal(one.vectors[UPDATE], other.vectors[UPDATE])
        assert (one.survivors, one.answered) == (other.survivors, other.answered)


@pytest.mark.parametrize("name", ["plain", "masked"])
def test_level_secrets_outlive_a_process(name: str) -> None:
    """The noise of a round was drawn from them, so what the sum reveals must be these and no others."""
    aggregators: Mapping[str, Callable[[], Aggregator]] = {
        "plain": lambda: Plain(CLIENTS, BITS, DIMENSION, threshold=LEAST, levels=(5,)),
        "masked": lambda: Masked(
            SecAggParams.for_cohort(
                CLIENTS, vectors=[Vector(UPDATE, BITS, DIMENSION)], min_survivors=4, levels=(5,)
            )
        ),
    }
    parties = short_lived(aggregators[name]())
    sent = {c: residues(v) for c, v in vectors(1).items()}
    total = parties.sum(sent)
    assert total.level == 1
    drawn = {client: party.levels for client, party in parties.clients.items()}  # type: ignore[attr-defined]
    assert total.level_secrets == {client: levels[0] for client, levels in drawn.items()}


def _parties(parties: Parties) -> dict[int, Party]:
    return {**parties.clients, **parties.authority}


@pytest.mark.parametrize("way", WAYS)
def test_a_state_from_before_the_last_step_is_refused_and_the_party_goes_on(way: str) -> None:
    parties = Parties(WAYS[way]())
    sent = {c: residues(v) for c, v in vectors(3).items()}
    parties.sum(sent)
    older = {number: (party.save(), party.sequence) for number, party in _parties(parties).items()}
    parties.sum(sent)
    for number, party in _parties(parties).items():
        state, reached = older[number]
        assert party.sequence > reached
        with pytest.raises(IntegrityError, match="went back in time"):
            party.restore(state, least_sequence=party.sequence)
    assert np.array_equal(parties.sum(sent).vectors[UPDATE], residues(sum(vectors(3).values())))


@pytest.mark.parametrize("way", WAYS)
def test_a_state_is_that_of_one_party_in_one_run_and_whole(way: str) -> None:
    parties = Parties(WAYS[way]())
    sent = {c: residues(v) for c, v in vectors(3).items()}
    parties.sum(sent)
    elsewhere = Parties(WAYS[way](), run_id=b"another run ....")
    for number, party in _parties(parties).items():
        state = party.save()
        peer = parties.clients[number % CLIENTS + 1]
        for stranger in (peer, _parties(elsewhere)[number]):
            with pytest.raises(IntegrityError, match="not that of"):
                stranger.restore(state, least_sequence=0)
        for wrong in (state[:-1], state + b"\0", b"", state[:20] + bytes([state[20] ^ 1]) + state[21:]):
            with pytest.raises(IntegrityError):
                party.restore(wrong, least_sequence=0)
    assert np.array_equal(parties.sum(sent).vectors[UPDATE], residues(sum(vectors(3).values())))


@pytest.mark.parametrize("mode", ["authority", "threshold", "shared-key"])
def test_a_value_beyond_the_bound_or_the_modulus_is_not_encrypted(mode: str) -> None:
    client = Parties(encrypted(mode)).clients[1]
    client.open_round(1, bytes(32))
    with pytest.raises(UsageError, match="beyond the bound"):
        client.set_vectors(residues(np.full(DIMENSION, -BOUND - 1)))
    with pytest.raises(UsageError, match="not below 2"):
        client.set_vectors(np.full(DIMENSION, 1 << BITS, dtype=np.uint64))


def test_who_may_see_single_updates_is_said() -> None:
    assert [WAYS[way]().hides_updates for way in WAYS] == [False, True, True, True, True, False]
    assert Ckks(CkksParams.for_sum(
        mode="shared-key", clients=CLIENTS, dimension=DIMENSION, bound=BOUND, max_colluders=0
    ), BITS).hides_updates  # fmt: skip


def test_only_an_authority_is_an_authority() -> None:
    aggregator = encrypted("threshold")
    with pytest.raises(UsageError, match="the clients hold the key"):
        aggregator.authority(RUN_ID, SigningKey.from_seed(bytes(32)), {}, _rand(0))
