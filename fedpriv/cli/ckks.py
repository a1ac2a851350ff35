"""``fedpriv ckks``: what an encrypted sum takes, before anybody joins it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from fedpriv.cli.options import as_json, print_json

if TYPE_CHECKING:
    from fedpriv.ckks.mode import Mode
    from fedpriv.ckks.params import CkksParams

__all__ = ["ckks"]


@click.group()
def ckks() -> None:
    """Choose parameters of summation under CKKS encryption."""


@ckks.command()
@click.option("--clients", type=int, required=True, help="How many clients take part, 2 to 1,000,000.")
@click.option("--dimension", type=int, required=True, help="Values in a client's vector.")
@click.option("--bound", type=int, help="No value of a client is larger in absolute value.")
@click.option("--bits", type=int, help="Instead of --bound: bits that the sum of one value may take.")
@click.option(
    "--mode",
    type=click.Choice(["authority", "threshold", "shared-key"]),
    default="authority",
    show_default=True,
    help="Who holds the key: one authority, a committee of clients, or every client.",
)
@click.option("--holders", type=int, help="Mode threshold: clients in the committee.  [default: 5]")
@click.option("--threshold", type=int, help="Mode threshold: how many of them open a sum.  [default: least]")
@click.option(
    "--max-colluders", type=int, default=1, show_default=True, help="Clients that may help the server."
)
@click.option(
    "--server",
    type=click.Choice(["malicious", "semi-honest"]),
    default="malicious",
    show_default=True,
    help="A server that may deviate, or one that follows the protocol.",
)
@click.option(
    "--min-survivors", type=int, help="Fewest clients in a sum that is opened.  [default: a majority]"
)
@click.option("--sums-per-key", type=int, default=16, show_default=True, help="Sums that one key may open.")
@click.option(
    "--statistical-bits",
    type=int,
    default=30,
    show_default=True,
    help="Mode threshold: what one key opens says more than its sums with advantage 2^-BITS.",
)
@as_json
def parameters(
    *,
    clients: int,
    dimension: int,
    bound: int | None,
    bits: int | None,
    mode: Mode,
    holders: int | None,
    threshold: int | None,
    max_colluders: int,
    server: str,
    min_survivors: int | None,
    sums_per_key: int,
    statistical_bits: int,
    as_json: bool,
) -> None:
    """Find the ring with which a client uploads the fewest bytes, and the noise that hides the noise.

    protocols/ckks/parameters.md has the rules and the arguments for them.
    """
    from fedpriv.ckks.params import CkksParams
    from fedpriv.errors import UsageError

    if holders is not None and not 2 <= holders <= clients:
        raise UsageError(f"--holders is {holders}; a committee has 2 to {clients} of {clients} clients.")
    params = CkksParams.for_sum(
        mode=mode,
        clients=clients,
        dimension=dimension,
        bound=_bound(clients, bound, bits),
        min_survivors=min_survivors,
        holders=None if holders is None else range(1, holders + 1),
        threshold=threshold,
        max_colluders=max_colluders,
        malicious=server == "malicious",
        sums_per_key=sums_per_key,
        statistical_bits=statistical_bits,
    )
    if as_json:
        print_json(_facts(params))
        return
    from fedpriv.cli.display import print_pairs

    if params.warning:
        click.secho(params.warning, fg="red", bold=True, err=True)
    print_pairs(_lines(params))


def _bound(clients: int, bound: int | None, bits: int | None) -> int:
    """M: as given, or the largest with 2 n M + 1 sums below 2^bits."""
    from fedpriv.errors import UsageError

    if (bound is None) == (bits is None):
        raise UsageError(
            "Say how large values are, in one way: --bound or --bits.",
            hint="--bits 24 is for values of which the sum over all clients takes 24 bits.",
        )
    if bits is None:
        assert bound is not None  # noqa: S101 - one of the two is there
        return bound
    if not 2 <= bits <= 60:
        raise UsageError(f"--bits is {bits}, which does not lie in 2..60.")
    most = ((1 << bits) - 1) // (2 * max(clients, 1))
    if most < 1:
        raise UsageError(f"Sums of {clients} clients do not fit into {bits} bits.", hint="Raise --bits.")
    return most


def _facts(params: CkksParams) -> dict[str, Any]:
    """The answer for a program."""
    from fedpriv.ckks.ring_params import MAX_MODULUS_BITS
    from fedpriv.ckks.security import FAILURE_BITS

    layout, ring = params.layout, params.ring
    return {
        "mode": params.mode,
        "clients": params.clients,
        "dimension": params.dimension,
        "bound": params.bound,
        "sum_bits": (layout.base - 1).bit_length(),
        "min_survivors": params.min_survivors,
        "holders": list(params.holders),
        "threshold": params.threshold,
        "max_colluders": params.max_colluders,
        "server": "malicious" if params.malicious else "semi-honest",
        "sums_per_key": params.sums_per_key,
        "statistical_bits": params.statistical_bits if params.flood_variance else None,
        "degree": ring.degree,
        "noise_prime": ring.noise_prime,
        "message_primes": list(ring.message_primes),
        "special_prime": ring.special_prime,
        "modulus_bits": ring.modulus_bits,
        "modulus_bits_allowed": MAX_MODULUS_BITS[ring.degree],
        "digits": params.digits,
        "values_per_coefficient": layout.values_per_coefficient,
        "chunks": layout.chunks,
        "upload_bytes": params.upload_bytes,
        "wire_ratio": params.wire_ratio,
        "key_bytes": params.key_bytes,
        "opening_bytes": params.opening_bytes,
        "answer_bytes": params.answer_bytes,
        "noise_deviation": math.sqrt(params.noise_variance),
        "flood_deviation": math.sqrt(params.flood_variance),
        "noise_limit": params.noise_limit,
        "log2_failure": -FAILURE_BITS,
        "warning": params.warning,
    }


def _lines(params: CkksParams) -> list[tuple[str, str]]:
    """The answer for a person."""
    from fedpriv.cli.summary import size

    facts, ring = _facts(params), params.ring
    messages = ring.message_primes
    flood = "none: who decrypts keeps the noise to itself"
    if params.flood_variance:
        flood = (
            f"deviation 2^{math.log2(params.flood_variance) / 2:.1f} for each of {params.secrets} subsets; "
            f"what one key opens says more than its sums with advantage at most 2^-{params.statistical_bits}"
        )
    downloads = "all clients' halves, which it checks and adds" if params.malicious else "the server's sums"
    return [
        ("key", _holding(params)),
        (
            "values",
            f"{params.dimension:,} of at most {params.bound:,}; a sum of {params.clients:,} takes "
            f"{facts['sum_bits']} bits",
        ),
        ("ring", f"degree {ring.degree:,}"),
        (
            "primes",
            f"noise {ring.noise_prime.bit_length()} bits, messages {len(messages)} of "
            f"{messages[0].bit_length()} bits, special {ring.special_prime.bit_length()} bits",
        ),
        (
            "security",
            f"128 bits: keys have {facts['modulus_bits']} of the {facts['modulus_bits_allowed']} bits that "
            "the Homomorphic Encryption Standard allows",
        ),
        (
            "layout",
            f"{facts['values_per_coefficient']} values in a coefficient, {facts['chunks']:,} "
            f"{'chunk' if facts['chunks'] == 1 else 'chunks'}",
        ),
        ("upload", f"{size(params.upload_bytes)} a client, {params.wire_ratio:.2f} times float32"),
        ("public key", f"{size(params.key_bytes)}, for up to {params.sums_per_key:,} sums"),
        ("to a holder", f"{size(params.opening_bytes)} a sum: {downloads}"),
        ("answer", f"{size(params.answer_bytes)} a holder"),
        (
            "noise",
            f"deviation at most {math.sqrt(params.noise_variance):,.0f} in a sum of all clients; more than "
            f"2^{math.log2(params.noise_limit):.1f}, the flood included, is refused",
        ),
        ("flooding", flood),
        (
            "failure",
            f"at most 2^{facts['log2_failure']} over the life of a key that a correct sum is refused",
        ),
    ]


def _holding(params: CkksParams) -> str:
    if params.mode == "authority":
        return "one authority that is neither the server nor a client opens the sums"
    if params.mode == "shared-key":
        return "every client holds the whole key"
    return f"{params.threshold} of {len(params.holders)} clients open a sum together"
