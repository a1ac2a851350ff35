"""Who looks on at a run, what each of them sees, and the ε that holds against them."""

from __future__ import annotations

from fedpriv import dp
from fedpriv.aggregation import Ckks, Masked, Plain
from fedpriv.errors import UnsafeParameters
from fedpriv.federation.planning.plan import Adversary, Aggregator
from fedpriv.federation.planning.words import together_with

__all__ = ["adversaries"]

_OPENED = {
    "authority": "the server and the key authority together, or the encryption broken",
    "threshold": "the server with {threshold} holders of the key, or the encryption broken",
    "shared-key": "the server with any one client, or the encryption broken",
}


def adversaries(
    events: dp.RoundEvents, aggregator: Aggregator, rounds: int, delta: float
) -> tuple[Adversary, ...]:
    """ε against each onlooker, for the whole run."""

    def against(event: dp.Event | None) -> float | None:
        try:
            return None if event is None else dp.epsilon_pld([(event, rounds)], delta)
        except UnsafeParameters:
            return None

    noise = events.noise
    unmasked, recipient, peer = (events.against(who) for who in ("unmasked", "recipient", "peer"))
    server = events.against("server") if aggregator.hides_updates else unmasked
    exposed = against(unmasked)
    seen = against(server) if aggregator.hides_updates else exposed
    authority: tuple[Adversary, ...] = ()
    if aggregator.has_authority:
        what = f"the key authority{together_with(noise.max_colluders)}, not with the server; sees the sums"
        event = events.against("server")
        authority = (Adversary("authority", what, event, against(event)),)
    return (
        Adversary("server", _server(noise, aggregator), server, seen),
        *authority,
        Adversary(
            "peer",
            "another client, honest but curious; sees the models and knows its own noise",
            peer,
            against(peer),
        ),
        Adversary("recipient", "whoever receives the models, and no more", recipient, against(recipient)),
        Adversary(
            "unmasked",
            f"whoever sees one client's update with only its own noise: {_exposed(aggregator)}",
            unmasked,
            exposed,
        ),
    )


def _server(noise: dp.NoisePlan, aggregator: Aggregator) -> str:
    """What the operator of the server sees, and who may be with it."""
    if isinstance(aggregator, Plain):
        return "the operator of the server; sees every client's update (aggregator = plain)"
    if not aggregator.hides_updates:
        return (
            "the operator of the server with any one client; opens every update with that client's key "
            "(ckks.mode = shared-key)"
        )
    if noise.trust == "central":
        return "the operator of the server, who adds the noise and so sees the sums without it"
    colluding = together_with(noise.max_colluders)
    if isinstance(aggregator, Masked):
        what = f"the operator of the server{colluding}; sees the sums"
        if noise.trust == "distributed" and not aggregator.params.complete:
            what += "; follows the protocol (on a sparse graph one that does not could open smaller sums)"
        return what
    params = aggregator.params
    without = {
        "authority": ", not together with the key authority",
        "threshold": f", with fewer than {params.threshold} of the {len(params.holders)} holders of the key",
        "shared-key": ", with no client on its side",
    }[params.mode]
    what = f"the operator of the server{colluding}{without}; sees the sums"
    if not params.malicious:
        what += "; follows the protocol (one that does not could have single updates opened)"
    elif params.max_colluders:
        what += "; clients that work with it follow the protocol"
    return what


def _exposed(aggregator: Aggregator) -> str:
    """How somebody could come to see one client's update."""
    if isinstance(aggregator, Ckks):
        return _OPENED[aggregator.params.mode].format(threshold=aggregator.params.threshold)
    return "the masks broken, or never used"
