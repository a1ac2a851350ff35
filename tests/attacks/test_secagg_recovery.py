"""Attacks on the sum: a dealer or a holder of shares that lies about a secret (SA-12)."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from parties.secagg import Parties

from fedpriv.crypto.field import PRIME
from fedpriv.errors import ProtocolViolation
from fedpriv.secagg import recovery


def _unmask_with_a_lie(parties: Parties, liar: int, owner: int) -> None:
    """One answer in which one share is off by one; then close the stage."""
    for client in parties.server.asked:
        reply = parties.answer(client)[0]
        if client == liar:
            shares = [
                (name, kind, _plus_one(share) if name == owner else share)
                for name, kind, share in parties.read_reply(reply).shares
            ]
            reply = parties.forge_reply(reply, shares=tuple(shares))
        parties.deliver(client, [reply])
    parties.server.advance()


def _plus_one(share: bytes) -> bytes:
    return ((int.from_bytes(share, "big") + 1) % PRIME).to_bytes(33, "big")


@pytest.mark.parametrize("owner", [1, 2, 4])
def test_a_false_share_gives_a_recovered_secret_that_does_not_match(owner: int) -> None:
    # Client 4 has dropped, so of 4 the key is recovered and of the others the seed.
    parties = Parties(5)
    parties.run_until("upload")
    parties.step({4})
    parties.run_until("unmask")
    with pytest.raises(ProtocolViolation, match="SA-12"):
        _unmask_with_a_lie(parties, liar=2, owner=owner)
    assert parties.server.stage == "aborted"
    assert parties.server.asked == ()
    parties.open(4)
    parties.assert_exact(parties.finish())


@pytest.mark.parametrize("owner", [1, 4])
def test_a_false_share_would_change_the_sum_unseen(owner: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "_check", lambda fits, owner: None)
    parties = Parties(5)
    parties.run_until("upload")
    parties.step({4})
    parties.run_until("unmask")
    _unmask_with_a_lie(parties, liar=2, owner=owner)
    result = parties.server.result()
    assert not np.array_equal(result.vectors["update"], parties.plain_sum(result.survivors))


@pytest.mark.parametrize("what", ["seed", "mask"])
@pytest.mark.parametrize("dropped", [True, False])
def test_a_dealer_that_shares_another_secret_than_it_signed(what: str, dropped: bool) -> None:
    parties = Parties(5)
    parties.run_until("share")
    dealer = parties.clients[3]
    secrets = dealer._secrets()
    lie = msgspec.structs.replace(secrets, **{what: b"o" * 32})
    dealer._memory = msgspec.structs.replace(dealer._memory, secrets=lie)
    parties.step()
    dealer._memory = msgspec.structs.replace(dealer._memory, secrets=secrets)
    parties.step({3} if dropped else set())
    if what == ("mask" if dropped else "seed"):
        with pytest.raises(ProtocolViolation, match=r"client 3 .*SA-12"):
            parties.finish()
    else:
        parties.assert_exact(parties.finish())
