"""How a client is set up and what its caller may get wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from parties.secagg import Parties

from fedpriv.errors import UsageError
from fedpriv.secagg import Client, Server


def test_an_identity_that_the_roster_does_not_list_is_refused() -> None:
    parties = Parties(3)
    for client in (2, 4):
        with pytest.raises(UsageError, match="does not list"):
            Client(
                parties.params,
                parties.session,
                client,
                parties.identities[1],
                parties.roster,
                parties.stream.read,
            )


def _without_one(roster: dict[int, bytes]) -> dict[int, bytes]:
    return {client: key for client, key in roster.items() if client != 3}


@pytest.mark.parametrize(
    "change",
    [
        _without_one,
        lambda roster: {**roster, 4: bytes(32)},
        lambda roster: {client - 1: key for client, key in roster.items()},
        lambda roster: {**roster, 3: bytes(31)},
        lambda roster: {**roster, 3: roster[2]},
    ],
)
def test_a_roster_that_does_not_fit_is_refused(change: Any) -> None:
    parties = Parties(3)
    with pytest.raises(UsageError, match=r"roster"):
        Server(parties.params, parties.session, change(parties.roster))


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros(6, dtype=np.uint64),
        np.zeros((7, 1), dtype=np.uint64),
        np.zeros(7, dtype=np.int64),
        np.zeros(7, dtype=np.float64),
        [0] * 7,
    ],
)
def test_a_vector_of_another_kind_is_refused(vector: Any) -> None:
    with pytest.raises(UsageError):
        Parties(3).clients[1].set_vector(vector)


def test_a_vector_is_copied_when_it_is_given() -> None:
    parties = Parties(3)
    vector = parties.vectors[1].copy()
    parties.clients[1].set_vector(vector)
    vector[:] = 0
    assert np.array_equal(parties.finish().total, parties.plain_sum({1, 2, 3}))


def test_a_vector_can_be_replaced_until_the_upload_and_not_after() -> None:
    parties = Parties(3)
    parties.run_until("upload")
    parties.vectors[1] = np.arange(7, dtype=np.uint64)
    parties.clients[1].set_vector(parties.vectors[1])
    parties.run_until("consistency")
    with pytest.raises(UsageError, match="uploaded"):
        parties.clients[1].set_vector(parties.vectors[1])
    assert np.array_equal(parties.finish().total, parties.plain_sum({1, 2, 3}))


def test_a_client_without_a_vector_says_so_and_can_go_on() -> None:
    parties = Parties(3)
    late = Client(
        parties.params, parties.session, 1, parties.identities[1], parties.roster, parties.stream.read
    )
    parties.clients[1] = late
    request = parties.run_until("upload")[1]
    with pytest.raises(UsageError, match="no vector"):
        late.handle(request)
    late.set_vector(parties.vectors[1])
    assert np.array_equal(parties.finish().total, parties.plain_sum({1, 2, 3}))


@pytest.mark.parametrize("rand", [bytes, lambda count: b"x", lambda count: "x" * count])
def test_randomness_that_is_plainly_none_is_refused(rand: Any) -> None:
    parties = Parties(3)
    client = parties.client(1, rand=rand)
    with pytest.raises(UsageError, match="randomness"):
        client.handle(parties.server.requests()[1])
    assert client.state == "new"


def test_secrets_are_forgotten_when_they_have_served() -> None:
    parties = Parties(3)
    client = parties.clients[1]
    parties.run_until("consistency")
    assert client._memory.keys is None
    assert client._vector is None
    parties.finish()
    assert client._memory.held == {}
    assert client.state == "answered"


def test_nothing_secret_is_printed() -> None:
    parties = Parties(3)
    parties.run_until("upload")
    client = parties.clients[1]
    keys = client._memory.keys
    assert keys is not None
    printed = repr(client) + repr(client._memory) + repr(keys) + repr(parties.server)
    for secret in (keys.seed, keys.mask.seed, keys.cipher.seed):
        assert secret.hex() not in printed
        assert repr(secret)[2:-1] not in printed
