"""``fedpriv secagg``: what secure aggregation needs for a cohort, before anybody joins it."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from fedpriv.cli.options import as_json, print_json

if TYPE_CHECKING:
    from fedpriv.secagg.graph_parameters import Adversary, GraphParameters

__all__ = ["secagg"]


@click.group()
def secagg() -> None:
    """Choose parameters of secure aggregation."""


@secagg.command()
@click.option("--clients", type=int, required=True, help="How many clients take part, 3 to 1,000,000.")
@click.option(
    "--corrupt", type=float, required=True, help="Fraction that may collude with the server, as in 0.05."
)
@click.option("--dropout", type=float, required=True, help="Fraction that may vanish in a round, as in 0.05.")
@click.option(
    "--adversary",
    type=click.Choice(["curious", "semi-malicious"]),
    default="semi-malicious",
    show_default=True,
    help="A server that follows the protocol, or one that may tell different clients different things.",
)
@click.option(
    "--security-bits",
    type=int,
    default=40,
    show_default=True,
    help="The graph may fail to protect with probability 2^-BITS.",
)
@click.option(
    "--correctness-bits",
    type=int,
    default=20,
    show_default=True,
    help="A round may fail to finish with probability 2^-BITS.",
)
@click.option(
    "--grinding-bits",
    type=int,
    default=0,
    show_default=True,
    help="The adversary may try 2^BITS graphs and keep the worst.",
)
@as_json
def parameters(
    *,
    clients: int,
    corrupt: float,
    dropout: float,
    adversary: Adversary,
    security_bits: int,
    correctness_bits: int,
    grinding_bits: int,
    as_json: bool,
) -> None:
    """Find the fewest neighbours that each client needs, and how many shares open a secret.

    The probabilities are for one graph, drawn after it was settled who is corrupt and who drops out;
    protocols/secagg/graph.md has the conditions and the arguments for them.
    """
    from fedpriv.secagg.graph_parameters import graph_parameters

    found = graph_parameters(
        clients,
        corrupt=corrupt,
        dropout=dropout,
        adversary=adversary,
        security_bits=security_bits,
        correctness_bits=correctness_bits,
        grinding_bits=grinding_bits,
    )
    if as_json:
        asked = {
            "adversary": adversary,
            "security_bits": security_bits,
            "correctness_bits": correctness_bits,
            "grinding_bits": grinding_bits,
        }
        print_json({**asdict(found), "holders": found.holders, **asked})
        return
    from fedpriv.cli.display import print_pairs

    print_pairs(_lines(found, adversary, grinding_bits))


def _lines(found: GraphParameters, adversary: Adversary, grinding_bits: int) -> list[tuple[str, str]]:
    """The answer for a person."""
    if found.complete:
        graph = f"complete: each client is joined to all {found.degree:,} others"
        why = "shares of each secret are held by all clients, its owner among them"
    else:
        graph = f"each client shares masks with {found.degree:,} others, its neighbours"
        why = "shares of each secret are held by the neighbours of its owner"
    server = (
        "follows the protocol" if adversary == "curious" else "may tell different clients different things"
    )
    lines = [
        ("clients", f"{found.clients:,}"),
        ("server", f"{adversary}: {server}"),
        ("corrupt", f"up to {found.max_corrupt:,} may collude with the server"),
        ("dropped", f"up to {found.max_dropped:,} may vanish in a round"),
        ("degree", graph),
        ("threshold", f"{found.threshold:,} of {found.holders:,} shares open a secret; {why}"),
        (
            "exposed",
            f"{_chance(found.log2_exposed)}: a client with more than {found.corrupt_neighbours:,} corrupt "
            "holders, so that they could undo the threshold",
        ),
        (
            "split",
            f"{_chance(found.log2_disconnected)}: the honest survivors fall apart, and the server learns the "
            "sum of each part",
        ),
        (
            "unfinished",
            f"{_chance(found.log2_unfinished)}: a client keeps fewer than {found.threshold:,} holders, and "
            "the round gives no sum",
        ),
    ]
    if found.complete or (adversary == "curious" and not grinding_bits):
        return lines
    if grinding_bits:
        grinding = f"each of the 2^{grinding_bits} graphs that may be tried has those first two chances"
    else:
        grinding = (
            "none counted, which is right for a graph that nobody can influence; the protocol here draws it "
            "from the clients' keys and counts --grinding-bits 64"
        )
    lines.append(("grinding", grinding))
    return lines


def _chance(log2: float) -> str:
    """A bound on a probability, rounded up.

    >>> _chance(-41.26)
    'at most 2^-41.2'
    """
    return "cannot happen" if log2 == -math.inf else f"at most 2^{math.ceil(10.0 * log2) / 10.0:.1f}"
