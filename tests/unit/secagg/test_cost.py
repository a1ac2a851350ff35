"""What a round is said to cost is what it costs."""

from __future__ import annotations

import pytest
from parties.secagg import Parties

from fedpriv.errors import UsageError
from fedpriv.secagg import round_cost


@pytest.mark.parametrize("clients", [3, 8, 20])
@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("most", [True, False])
def test_the_bytes_are_those_of_a_real_round(clients: int, check: bool, most: bool) -> None:
    parties = Parties(clients, consistency_check=check, dimension=100)
    lost = set(range(1, 1 + (parties.params.max_dropouts if most else 0)))
    sent = received = exchanges = 0
    while not parties.server.finished:
        for client, request in parties.server.requests().items():
            if client in lost and parties.server.stage == "upload":
                continue
            reply = parties.clients[client].handle(request)
            parties.server.receive(client, reply)
            if client == clients:
                sent, received, exchanges = sent + len(reply), received + len(request), exchanges + 1
        parties.server.advance()
    cost = round_cost(parties.params, dropouts=len(lost))
    assert (cost.bytes_sent, cost.bytes_received, cost.exchanges) == (sent, received, exchanges)
    assert cost.client_masks == clients
    assert cost.server_masks == (clients - len(lost)) * (1 + len(lost))


def test_more_dropouts_than_allowed_have_no_cost() -> None:
    with pytest.raises(UsageError):
        round_cost(Parties(5).params, dropouts=3)
