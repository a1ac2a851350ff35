"""A plan in words: the guarantee in one sentence, and the lines that `fedpriv plan` prints."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fedpriv import dp
from fedpriv.aggregation import Ckks
from fedpriv.errors import UsageError

if TYPE_CHECKING:
    from fedpriv.federation.planning.plan import Compressed, Estimate, Plan
    from fedpriv.federation.workplace import DataSet

__all__ = ["dataset_lines", "frontier_note", "guarantee", "lines", "together_with"]


def guarantee(plan: Plan) -> str:
    """The guarantee in one sentence: (ε, δ), unit, adjacency, against whom, under which condition."""
    own = "that client itself" if plan.unit == "client" else "the record's own client"
    opens = "opens every update with any client's key (ckks.mode = shared-key)"
    unhidden = opens if isinstance(plan.aggregator, Ckks) else "sees every update (aggregator = plain)"
    authority = ", nor the key authority, which sees the sums before" if plan.aggregator.has_authority else ""
    who = {
        ("distributed", True): (
            f"{_server(plan)}, and everybody "
            f"who receives the model, as long as at least "
            f"{plan.noise.min_survivors - plan.noise.max_colluders} honest clients add their noise"
        ),
        ("distributed", False): (f"everybody who receives the model, but not the server, which {unhidden}"),
        ("local", True): f"everybody but {own}, the server included",
        ("local", False): f"everybody but {own}, the server included",
        (
            "central",
            True,
        ): f"everybody who receives the model, but not the server, which adds the noise{authority}",
        (
            "central",
            False,
        ): "everybody who receives the model, but not the server, which sees every update",
    }[plan.trust, plan.aggregator.hides_updates]
    what = (
        "Whether any one client's data was used or not"
        if plan.unit == "client"
        else "Whether any one record was in the training data or not"
    )
    return (
        f"{what} changes what is seen by at most "
        f"(ε = {_upward(plan.epsilon_pld)}, δ = {plan.delta:g}); this holds against {who}."
    )


def _server(plan: Plan) -> str:
    """The server and who may be with it, where the sum alone has enough noise."""
    aggregator = plan.aggregator
    server = "the server (if it follows the protocol)" if plan.server_follows else "the server"
    server += together_with(plan.noise.max_colluders)
    if not isinstance(aggregator, Ckks):
        return server
    params = aggregator.params
    return {
        "authority": f"{server} (but not with the key authority as well), the key authority by itself",
        "threshold": f"{server} (with fewer than {params.threshold} of the {len(params.holders)} holders of "
        "the key)",
        "shared-key": f"{server} (as long as no client works with it)",
    }[params.mode]


def lines(plan: Plan) -> list[tuple[str, str]]:
    """The plan for a person: pairs of label and text."""
    noise, grid = plan.noise, plan.grid
    found = [
        ("guarantee", plan.guarantee),
        ("unit, trust, aggregator", f"{plan.unit}, {plan.trust}, {plan.aggregator.name}"),
        ("rounds", _rounds_line(plan)),
        (
            "noise",
            f"multiplier {noise.noise_multiplier:g} of {_bound_in_words(plan)}; each client adds a "
            f"standard deviation of {math.sqrt(noise.share_variance) / 2.0**grid.scale_log2:.4g}",
        ),
        (
            "ε under the plan",
            f"{plan.epsilon_pld:.4f} by PLD, {plan.epsilon_rdp:.4f} by RDP, at δ = {plan.delta:g}; "
            f"allowed {plan.epsilon:g}",
        ),
    ]
    found += [
        (f"ε against {entry.adversary}", f"{_bound(entry.epsilon_pld)}: {entry.description}")
        for entry in plan.adversaries
    ]
    found += _people(plan)
    found += [
        (
            "clients",
            f"{_clients(plan)}; a round needs {noise.min_survivors} survivors and bears "
            f"{noise.max_colluders} colluding",
        ),
        (
            "encoding",
            f"{noise.dimension:,} parameters in {grid.bits} bits, one unit is 2^{-grid.scale_log2}"
            + ("; turned by a public random rotation, new in each round" if plan.rotated else ""),
        ),
        (
            "traffic",
            f"{plan.bytes_per_client_round:,} bytes sent per client and round; {_work_of_hiding(plan)}",
        ),
    ]
    if plan.compressed is not None:
        found.append(("compression", _compression(plan.compressed)))
    if isinstance(plan.aggregator, Ckks):
        found.append(("encryption", _encryption(plan)))
    if plan.adaptive_clip is not None:
        found.append(("clip", _clip_line(plan)))
    if noise.levels:
        found.append(("noise left in a sum", _noise_left(plan)))
    elif isinstance(plan.aggregator, Ckks) and noise.trust == "distributed":
        what = f"all of it, up to {_most_noise(plan):.3f} in parts of the variance needed"
        found.append(("noise left in a sum", f"{what}: none is removed from an encrypted sum"))
    if plan.estimate is not None:
        found.append(
            (
                "on this machine",
                f"about {_duration(plan.estimate.seconds)}, "
                f"{plan.estimate.memory_bytes / 2**20:,.0f} MiB of memory{_of_it(plan.estimate)}",
            )
        )
    if plan.warning is not None:
        found.append(_split(plan.warning))
    if plan.large_epsilon:
        found.append(
            (
                "LARGE ε",
                f"ε = {plan.epsilon:g} is allowed by privacy.allow_large_epsilon; from {dp.LARGE_EPSILON:g} "
                f"on, a guarantee says next to nothing about any one {plan.unit}",
            )
        )
    if plan.insecure:
        found.append(
            ("INSECURE", "privacy.insecure_seed is set: whoever knows it can take the noise off again")
        )
    return found


def _of_it(estimate: Estimate) -> str:
    if estimate.logits_bytes is None:
        return ""
    return (
        f", {estimate.logits_bytes / 2**20:,.0f} MiB of it for the logits of a micro-batch, in proportion to "
        "training.micro_batch"
    )


def frontier_note(plan: Plan) -> str:
    """What the figures of the frontier are, in one line."""
    sampled = f"q = {plan.sampling_rate:.5g}" if plan.sampling_rate < 1 else "no sampling"
    return (
        f"noise multiplier that so many rounds need, at δ = {plan.delta:g} and {sampled}; over "
        f"{plan.expected_batch:g} it is the noise in a round's mean, in parts of {_bound_in_words(plan)}"
    )


def dataset_lines(dataset: DataSet) -> list[tuple[str, str]]:
    """Whose budget the records spend, and which other budgets the same records have: label and text."""
    found = dataset.recognised
    about = "about " if not found.marks.whole else ""
    if found.spent is None:
        told = f"new to the ledger, {about}{found.records:,} records"
    else:
        told = (
            f"{about}{found.shared:,} of {found.records:,} records known, {found.new:,} new; it has spent "
            f"ε = {_upward(found.spent.epsilon)} of {found.spent.budget:g}"
        )
    lines = [("data set", f"{dataset.name}: {told}")]
    for other in found.others:
        text = (
            f"{other.shared:,} of the records are also in {other.name} ({other.dataset[:12]}), which has "
            f"spent ε = {_upward(other.spent)} of {other.budget:g}; for whoever is in both, that and what "
            "this one spends add up, ε and δ"
        )
        lines.append(("also accounted", text))
    return lines


def _people(plan: Plan) -> list[tuple[str, str]]:
    """What somebody with several records is promised."""
    found = []
    if plan.person_records > 1:
        what = f"{_bound(plan.epsilon_person)} for somebody with up to {plan.person_records} records"
        found.append(("ε of a person", f"{what} in all (privacy.person_records)"))
    if plan.trust == "local":
        own = "records" if plan.unit == "client" else "one record"
        what = (
            "no more, as nobody is said to have records at two clients (data.disjointness = asserted)"
            if plan.disjointness == "asserted"
            else f"{_bound(plan.epsilon_everywhere)} for somebody with {own} at each of the "
            f"{len(plan.everyone)} clients; that there is nobody is not known (data.disjointness)"
        )
        found.append(("ε over all clients", what))
    return found


def _bound_in_words(plan: Plan) -> str:
    """What the noise multiplier is a multiple of."""
    if plan.work == "update" and plan.unit == "record":
        return f"twice the clip {plan.grid.clip:g} (one record may turn a client's update around)"
    return f"clip {plan.grid.clip:g}"


def _rounds_line(plan: Plan) -> str:
    if plan.work == "update":
        own = _times(plan.local_epochs, "epoch") or _times(plan.local_steps, "step")
        clients = plan.noise.clients
        who = (
            f"all {clients} clients"
            if plan.cohorts is None
            else (
                f"at most {clients} of the {plan.all_clients} clients, which take turns in "
                f"{plan.cohorts} cohorts"
            )
        )
        return (
            f"{plan.rounds} of {who}, each with {own} on its own records; "
            f"the sum of updates is divided by {plan.expected_batch:g}; no amplification by sampling is "
            "claimed"
        )
    each = "" if plan.work == "gradients" else f", {_times(plan.local_steps, 'step')} each"
    return (
        f"{plan.rounds} of {plan.expected_batch:g} records expected{each}, each record with q = "
        f"{plan.sampling_rate:.5g} ({plan.records:,} records, "
        f"{'as declared' if plan.records_declared else 'counted, and so public'}){_turns(plan)}"
    )


def _clients(plan: Plan) -> str:
    """How many there are, and in a round."""
    whole, part = len(plan.everyone), plan.noise.clients
    return f"{whole}" if plan.cohorts is None else f"{part} of {whole} at most in a round"


def _turns(plan: Plan) -> str:
    """In how many rounds a record can be, where its client does not take part in all."""
    if plan.cohorts is None:
        return ""
    most = -(-plan.rounds // plan.cohorts)
    return (
        f"; its client takes part in {most} of them at most, as clients take turns in {plan.cohorts} cohorts"
    )


def _noise_left(plan: Plan) -> str:
    """How much of the needed variance is in a sum at each number of survivors, after removal."""
    noise = plan.noise
    counts = range(noise.min_survivors, noise.clients + 1)
    left = {u: (noise.realised_multiplier(u) / noise.noise_multiplier) ** 2 for u in counts}
    shown = (
        ", ".join(f"{ratio:.3f} with {u} survivors" for u, ratio in left.items())
        if len(left) <= 8
        else f"{min(left.values()):.3f} to {max(left.values()):.3f} with {counts[0]} survivors or more"
    )
    return f"{shown}, in parts of the variance needed; without removal up to {_most_noise(plan):.3f}"


def _most_noise(plan: Plan) -> float:
    """The honest clients' noise where all survive and none is removed, in parts of the variance needed."""
    noise = plan.noise
    return (noise.clients - noise.max_colluders) / (noise.min_survivors - noise.max_colluders)


def _split(warning: str) -> tuple[str, str]:
    """A warning that begins with its title, as label and text."""
    title, _, text = warning.partition(": ")
    return title, text


def _work_of_hiding(plan: Plan) -> str:
    """What hiding an update costs a client beside the bytes."""
    if not isinstance(plan.aggregator, Ckks):
        return f"{plan.masks_per_client} masks to expand"
    return f"an upload is {plan.aggregator.params.wire_ratio:.2f} times the vector as 32-bit numbers"


def _encryption(plan: Plan) -> str:
    """Who has the key, under which parameters, and what its holders' answers may tell."""
    aggregator = plan.aggregator
    if not isinstance(aggregator, Ckks):
        raise UsageError("the sums of this plan are not encrypted")
    params = aggregator.params
    who = {
        "authority": "the key authority opens sums",
        "threshold": f"{params.threshold} of {len(params.holders)} clients open sums together",
        "shared-key": "every client can open sums",
    }[params.mode]
    line = (
        f"{who}, at most {params.sums_per_key} with one key; ring degree {params.ring.degree:,}, "
        f"{params.ring.modulus_bits} bits of modulus; a client downloads {params.key_bytes:,} bytes of a new "
        f"key, a holder {params.opening_bytes:,} to open a sum"
    )
    if plan.flooding_slack:
        line += f"; their answers add about {plan.flooding_slack:.2g} to δ"
    return line


def _compression(compressed: Compressed) -> str:
    """Which part of the method's coordinates is sent, and why."""
    part, whole = compressed.coordinates, compressed.of
    said = (
        f"all {whole:,} coordinates of the method"
        if part == whole
        else f"{part:,} of the method's {whole:,} coordinates ({part / whole:.1%}), drawn anew each round "
        "from run.seed"
    )
    return said if compressed.bytes is None else f"{said}, within the {compressed.bytes:,} bytes allowed"


def _clip_line(plan: Plan) -> str:
    clip = plan.adaptive_clip
    if clip is None:
        raise UsageError("the clip of this plan does not move")
    bits, update = clip.bit_units, plan.grid.sensitivity
    z, norm = plan.noise.noise_multiplier, math.hypot(bits, update)
    return (
        f"from {clip.initial:g} towards the {clip.quantile:g} quantile of the updates' norms; the count "
        f"takes {bits**2 / norm**2:.1%} of each round's cost: multiplier {z * norm / bits:.3g} for the "
        f"count and {z * norm / update:.4g} for the update make {z:.4g} together"
    )


def together_with(colluders: int) -> str:
    """The clients on the server's side, in words."""
    if colluders == 0:
        return ""
    return f" together with up to {colluders} colluding client{'' if colluders == 1 else 's'}"


def _upward(epsilon: float) -> str:
    """Two decimals, never rounded down."""
    return f"{math.ceil(epsilon * 100) / 100:.2f}"


def _bound(epsilon: float | None) -> str:
    return "no useful bound" if epsilon is None else _upward(epsilon)


def _times(number: int | None, noun: str) -> str:
    return "" if number is None else f"{number:,} {noun}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"
