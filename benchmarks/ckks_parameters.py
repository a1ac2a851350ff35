"""Ring, noise prime and upload of an encrypted sum over modes, cohorts, widths and dimensions.

    python benchmarks/ckks_parameters.py [--write]

Prints the table of protocols/ckks/parameters.md, section 7; ``--write`` puts it there.  Nothing is timed; the
figures are the same on every machine.
"""

from __future__ import annotations

import argparse
import itertools
import math
import re
import sys
from pathlib import Path

from fedpriv.ckks.mode import Mode
from fedpriv.ckks.params import CkksParams
from fedpriv.ckks.ring_params import MAX_MODULUS_BITS
from fedpriv.errors import UnsafeParameters

DOCUMENT = Path(__file__).resolve().parents[1] / "protocols" / "ckks" / "parameters.md"
MODES: tuple[Mode, ...] = ("authority", "threshold")
COHORTS = (10, 100)
BITS = (16, 24, 32)
DIMENSIONS = (75_000, 4_000_000)
HEADING = (
    "| mode | n | bits of a sum | d | N | p_0, p_k, p_s (bits) | q' of allowed | v L' | chunks | flood | "
    "upload, kB | of float32 |"
)


def table() -> str:
    cases = itertools.product(MODES, COHORTS, BITS, DIMENSIONS)
    rows = [f"| {' | '.join(row(*case))} |" for case in cases]
    return "\n".join([HEADING, "|---" * (HEADING.count("|") - 1) + "|", *rows]) + "\n"


def row(mode: Mode, clients: int, bits: int, dimension: int) -> list[str]:
    asked = [mode, str(clients), str(bits), f"{dimension:,}"]
    bound = ((1 << bits) - 1) // (2 * clients)
    try:
        params = CkksParams.for_sum(mode=mode, clients=clients, dimension=dimension, bound=bound)
    except UnsafeParameters as refusal:
        return [*asked, f"refused: {refusal.hint}", *[""] * 7]
    ring, layout = params.ring, params.layout
    sizes = [
        ring.noise_prime.bit_length(),
        ring.message_primes[0].bit_length(),
        ring.special_prime.bit_length(),
    ]
    flood = f"2^{math.log2(params.flood_variance) / 2:.1f}" if params.flood_variance else "0"
    return [
        *asked,
        f"{ring.degree:,}",
        f"{sizes[0]}, {len(ring.message_primes)}·{sizes[1]}, {sizes[2]}",
        f"{ring.modulus_bits} of {MAX_MODULUS_BITS[ring.degree]}",
        str(layout.values_per_coefficient),
        str(layout.chunks),
        flood,
        f"{params.upload_bytes / 1000:,.0f}",
        f"{params.wire_ratio:.2f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="The table of parameters for encrypted sums.")
    parser.add_argument(
        "--write", action="store_true", help="put the table into protocols/ckks/parameters.md"
    )
    write = parser.parse_args().write
    made = table()
    print(made, end="")
    if write:
        text, times = re.subn(
            r"\| mode \| n \| bits of a sum.*\n(\|.*\n)+", lambda _: made, DOCUMENT.read_text("utf-8")
        )
        if times != 1:
            sys.exit(f"{DOCUMENT} has {times} tables of this form")
        DOCUMENT.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
