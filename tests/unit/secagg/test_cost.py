"""What a round is said to cost is what it costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from parties.secagg import Parties, sparse_params

from fedpriv.crypto import add_masks
from fedpriv.errors import UsageError
from fedpriv.secagg import RoundCost, SecAggParams, Vector, round_cost

VECTORS = [Vector("a", 20, 100), Vector("b", 1, 3)]


def _run(parties: Parties, lost: set[int], watched: int) -> dict[str, int]:
    """Run a round without some uploads: what one client sent, received and expanded, and the server too."""
    spent = {"sent": 0, "received": 0, "exchanges": 0, "client_masks": 0, "server_masks": 0}

    def counting(name: str) -> Any:
        def count(target: NDArray[Any], masks: Any, *, start: int = 0) -> None:
            spent[name] += len(masks)
            add_masks(target, masks, start=start)

        return count

    parties.clients[watched]._add_masks = counting("client_masks")
    parties.server._add_masks = counting("server_masks")
    while not parties.server.finished:
        for client in parties.server.asked:
            if client in lost and parties.server.stage == "upload":
                continue
            request = parties.server.request(client)
            answer = parties.answer(client, request)
            parties.deliver(client, answer)
            if client == watched:
                spent["received"] += len(request)
                spent["sent"] += sum(map(len, answer))
                spent["exchanges"] += 1
        parties.server.advance()
    return {name: count // (len(VECTORS) if name.endswith("masks") else 1) for name, count in spent.items()}


def _as_cost(spent: dict[str, int]) -> RoundCost:
    return RoundCost(
        exchanges=spent["exchanges"],
        bytes_sent=spent["sent"],
        bytes_received=spent["received"],
        least_bytes=250 + 1,
        client_masks=spent["client_masks"],
        server_masks=spent["server_masks"],
    )


@pytest.mark.parametrize("clients", [3, 7])
@pytest.mark.parametrize("malicious", [True, False])
@pytest.mark.parametrize("most", [True, False])
@pytest.mark.parametrize("levels", [0, 1])
def test_the_cost_of_a_first_round_and_of_a_prepared_one_is_that_of_a_real_one(
    clients: int, malicious: bool, most: bool, levels: int
) -> None:
    # With most dropouts no level is reached, and without any the last.
    params = SecAggParams.for_cohort(
        clients,
        vectors=VECTORS,
        malicious=malicious,
        levels=tuple(range(clients, clients // 2 + 1, -2))[::-1] * levels,
    )
    dropouts = params.max_dropouts if most else 0
    lost = set(range(1, 1 + dropouts))
    for prepares in (False, True):
        parties = Parties(params=params, prepare=prepares)
        spent = _run(parties, lost, watched=clients)
        cost = round_cost(params, dropouts=dropouts, prepares=prepares)
        # A client that joins hears from some within the round and from others ahead; here all are alike.
        assert cost == _as_cost(spent)
        assert cost.client_masks == clients
        assert cost.server_masks == (clients - dropouts) * (1 + dropouts)

    parties = Parties(params=params, prepare=True)
    parties.finish()
    parties.open(4, prepare=True, invite=())
    spent = _run(parties, lost, watched=clients)
    cost = round_cost(params, dropouts=dropouts, prepared=True, prepares=True)
    assert cost == _as_cost(spent)
    assert cost.exchanges == (3 if malicious else 2)


@pytest.mark.parametrize("malicious", [True, False])
def test_the_cost_on_a_sparse_graph_is_that_of_a_real_round(malicious: bool) -> None:
    # Exact because all clients' numbers take one byte in MessagePack; above 127 they take two or three.
    params = sparse_params(12, degree=4, threshold=3, min_survivors=9, malicious=malicious, vectors=VECTORS)
    cost = round_cost(params)
    assert cost == _as_cost(_run(Parties(params=params), set(), watched=12))
    assert (cost.exchanges, cost.client_masks, cost.server_masks) == (4 + malicious, 5, 12)


def test_the_masks_that_the_server_expands_on_a_sparse_graph_are_about_as_many_as_expected() -> None:
    params = sparse_params(24, degree=8, threshold=5, min_survivors=20, vectors=VECTORS)
    cost = round_cost(params, dropouts=3)
    # Own masks of the 21 that survive, and of the 3 that vanish those with neighbours that survive.
    assert cost.server_masks == 21 + round(3 * 8 * 21 / 23)
    spent = _run(Parties(params=params), {3, 9, 17}, watched=24)
    assert 21 + 3 * (8 - 2) <= spent["server_masks"] <= 21 + 3 * 8


def test_the_bytes_grow_with_the_vectors_and_hardly_with_the_clients() -> None:
    def sent(clients: int, dimension: int) -> float:
        params = SecAggParams.for_cohort(clients, vectors=[Vector("update", 16, dimension)])
        cost = round_cost(params, prepared=True, prepares=True)
        assert cost.least_bytes == 2 * dimension
        return cost.bytes_sent / cost.least_bytes

    assert 1 < sent(50, 10**6) < 1.01
    assert 1 < sent(50, 10**7) < 1.001 < sent(50, 10**4)


@pytest.mark.parametrize("dropouts", [-1, 3])
def test_more_dropouts_than_allowed_have_no_cost(dropouts: int) -> None:
    with pytest.raises(UsageError):
        round_cost(Parties(5).params, dropouts=dropouts)


@pytest.mark.parametrize("changes", [{"prepared": True}, {"prepares": True}])
def test_a_prepared_round_on_a_sparse_graph_has_no_cost(changes: dict[str, bool]) -> None:
    with pytest.raises(UsageError, match="sparse"):
        round_cost(sparse_params(), **changes)


def test_costs_are_counted_for_many_clients_without_running_them() -> None:
    params = sparse_params(100_000, degree=100, threshold=75, min_survivors=99_950)
    cost = round_cost(params, dropouts=50)
    assert cost.client_masks == 101
    assert cost.bytes_received < 300_000
    assert isinstance(cost.server_masks, int)
    assert np.isclose(cost.server_masks, 99_950 + 50 * 100, rtol=1e-3)
