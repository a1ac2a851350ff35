"""The tables of ``ckks.py`` as Markdown, from what it measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

Rows = Mapping[tuple[str, str], list[dict[str, Any]]]


def median(rows: Iterable[dict[str, Any]], name: str) -> float:
    return statistics.median(row[name] for row in rows)


def page(results: dict[str, Any]) -> str:
    """The tables, as Markdown."""
    by_name = {(row["case"], row["setup"]): row["turns"] for row in results["rows"]}
    lines = [
        "# Summation under CKKS beside NVFlare and TenSEAL",
        "",
        f"{results['clients']} clients, sums of {results['bits']} bits, one thread; NVFlare "
        f"{results['versions']['peers']['nvflare']} as configured by default, TenSEAL "
        f"{results['versions']['peers']['tenseal']}. Processor seconds, medians of the turns; in brackets "
        "how many times less than NVFlare. Server, in all: its work for a whole sum over the number of "
        "clients, where the sum itself and what goes to holders and comes back are in it. `open`: the work "
        "of one who decrypts (authority, one client of NVFlare, or one holder for its part); authority and "
        "holders here check and add what each client sent. `error`: the largest difference to the sum of "
        "what was put in, over all values.",
    ]
    for case in ("adapter", "vector"):
        count = results["values"][case]
        title = (
            f"Adapter of MiniLM: {count:,} values in {results['tensors']} tensors"
            if case == "adapter"
            else f"A vector of {count:,} values, given for a million"
        )
        lines += ["", f"## {title}", "", *table(case, count, by_name)]
    lines += ["", "## Keys, and what else a round costs", "", *keys_table(results, by_name)]
    lines += ["", "## Wire, over float32, by bits of a sum", "", *bits_table(results, by_name)]
    return "\n".join([*lines, "", *findings(results, by_name), ""])


def table(case: str, count: int, by_name: Rows) -> list[str]:
    lines = [
        "| setup | encrypt and serialise, s | server: take in a client, ms | server: in all, ms a client |"
        " open, s | upload, MB | over float32 | error |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    flare = times(case, count, by_name[case, "NVFlare"])
    for (row_case, setup), rows in by_name.items():
        if row_case != case:
            continue
        own = times(case, count, rows)
        shown = {name: "" if setup == "NVFlare" else f" ({flare[name] / own[name]:.1f}x)" for name in own}
        held, size = rows[0].get("values", count), rows[0]["bytes"]
        cells = [
            setup,
            f"{own['encrypt']:.3f}{shown['encrypt']}",
            f"{own['add'] * 1e3:.1f}{shown['add']}",
            f"{own['server'] * 1e3:.1f}{shown['server']}",
            f"{own['open']:.3f}{shown['open']}",
            f"{size / 1e6 / per(case, held):.2f}",
            f"{size / 4 / held:.2f}",
            "0" if rows[0]["error"] == 0 else f"{rows[0]['error']:.1e}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def per(case: str, count: int) -> float:
    """By how much figures are divided: millions of values of the long vector."""
    return count / 1e6 if case == "vector" else 1.0


def times(case: str, count: int, rows: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds; ``server`` is a client's part of all that the server does for a sum."""
    unit = per(case, rows[0].get("values", count))
    found = {name: median(rows, name) / unit for name in ("encrypt", "add", "open")}
    ends = statistics.median(row["fuse"] / row["clients"] for row in rows) / unit
    return {**found, "server": found["add"] + ends}


def keys_table(results: dict[str, Any], by_name: Rows) -> list[str]:
    lines = [
        "| case | setup | key, s a holder | key, s the server | key, kB in all | opening: kB to a holder |"
        " kB from a holder | ring |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for (case, setup), rows in by_name.items():
        if setup.startswith("fedpriv"):
            ring = results["rings"][f"{case}, {setup.removeprefix('fedpriv, ')}"]
            bits = ",".join(str(prime.bit_length()) for prime in ring["primes"])
            cells = [case, setup, *(f"{median(rows, name):.3f}" for name in ("key_holder", "key_server"))]
            sizes = ("key_bytes", "open_bytes_down", "open_bytes_up")
            cells.extend(f"{median(rows, name) / 1e3:,.0f}" for name in sizes)
            lines.append(f"| {' | '.join(cells)} | {ring['degree']} [{bits}], {ring['digits']} a residue |")
        elif setup == "NVFlare":
            lines.append(f"| {case} | NVFlare | {median(rows, 'key_s'):.3f} | | | | | 8192 [60,40,40] |")
    return lines


def bits_table(results: dict[str, Any], by_name: Rows) -> list[str]:
    columns = sorted({results["bits"], *(row["bits"] for row in results["other_bits"])})
    ratios = {
        (row["case"], row["mode"], row["bits"]): (row["wire"], row["error"]) for row in results["other_bits"]
    }
    for (case, setup), rows in by_name.items():
        if setup.startswith("fedpriv"):
            wire = rows[0]["bytes"] / 4 / results["values"][case]
            ratios[case, setup.removeprefix("fedpriv, "), results["bits"]] = (wire, rows[0]["error"])
    lines = [
        "| case | mode | " + " | ".join(f"{bits} bits" for bits in columns) + " |",
        "|---|---|" + "---:|" * len(columns),
    ]
    for case in ("adapter", "vector"):
        for mode in results["modes"]:
            cells = [f"{ratios[case, mode, bits][0]:.2f}" for bits in columns]
            lines.append(f"| {case} | {mode} | {' | '.join(cells)} |")
    wrong = [f"{key}: {error}" for key, (_, error) in ratios.items() if error]
    return [*lines, "", f"Errors: {'; '.join(wrong) or 'none, every sum that was opened is exact'}."]


def findings(results: dict[str, Any], by_name: Rows) -> list[str]:
    recovered = [row["key_recovered"] for row in by_name["vector", "NVFlare"]]
    memory = results["memory"]
    rises = "; ".join(f"{name} {row['rise_kib'] / 1024:.0f} MiB" for name, row in memory.items())
    setup = memory["fedpriv, authority"]
    own = by_name["vector", "fedpriv, authority"]
    one = statistics.median(row["encrypt_wall"] for row in own)
    two = statistics.median(row["encrypt_second_wall"] for row in own)
    return [
        f"- Raw decryption gives NVFlare's key: {'yes' if all(recovered) else 'no'}, in "
        f"{sum(map(bool, recovered))} of {len(recovered)} turns, all residues right, from one aggregate and "
        "what was released of it.",
        f"- Memory of a client over its plain vector of {results['values']['vector']:,} values: {rises}; "
        f"set up once for a run here: {setup['setup_kib'] / 1024:.0f} MiB in {setup['setup_s']:.2f} s.",
        f"- Encrypting that vector takes {one:.2f} s of wall time in one process and {two:.2f} s in two.",
    ]
