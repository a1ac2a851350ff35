"""The tables and the page of plots, from the results alone."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from typing import Any

from cells import EPSILONS, OWN, SEEDS, SLICED, Cell, slices, usual
from plots import Dot, dot_plot
from predictions import predictions
from printed import honest, printed
from settings import DATA, FIRST, methods, skewed
from summary import Mean, cell_text, mean_of
from tuned import Results, chosen

RESULTS = Path(__file__).resolve().parents[1] / "results"


def write_page(results: Results) -> None:
    """Write ``fedpeft.md`` and ``fedpeft.html`` beside the results."""
    parts = [opening(results)]
    charts = []
    for data in DATA:
        if not any(key.startswith(f"grid/{data}/") for key in results):
            continue
        parts += [f"## {DATA[data]['title']}", main_table(results, data), perplexity_table(results, data)]
        parts += [epsilon_table(results, data), slice_table(results, data), tuning_table(results, data)]
        charts.append((DATA[data]["title"], *plots(results, data)))
    parts += ["## What was predicted, and what was seen", prediction_table(results)]
    text = "\n\n".join(part for part in parts if part) + "\n"
    (RESULTS / "fedpeft.md").write_text(text)
    (RESULTS / "fedpeft.html").write_text(html(charts))


def opening(results: Results) -> str:
    """What was run, and how long it took."""
    hours = sum(row["processor_seconds"] for row in results.values()) / 3600
    return (
        "# PEFT methods in a federation, under honest privacy\n\n"
        "Eight clients (for the play, seventeen roles), one step a round on the securely summed clipped "
        "gradients of records (`unit = record, trust = distributed`, masked), Adam at the server. lora, "
        "ffa-lora, fedsvd, fed-sb, adapter, bitfit and deep-prompt stand in a model's upper blocks (three of "
        "six, three of twelve, six of thirty). Accuracy on held-out records: mean of the seeds "
        f"{', '.join(map(str, SEEDS))} with a 95 % interval (Student's t); (1), (2): so many are in. "
        "ε = ∞ is neither clipped nor noised. Noise comes from the operating system's randomness, so that a "
        "run made again gives another figure; only those of the aggregators have a seed. Rate and clip were "
        "chosen for each method and data set on the split of seed 100, on its held-out records, which are no "
        "records of their own: they may be training records of the splits that are reported; no ε is charged "
        "for that choice. News came first: of the other data sets ε = 8 and 1 and the second partition are "
        "run with one seed, and rates are chosen among those that were best on news for some method, for "
        "full among the best and the one beside it. A sum of full needs all eight clients (its runs on news "
        "at ε = 3: five), so that no noise is drawn to be taken off again; that in the sum is the same.\n\n"
        f"{len(results)} runs, {hours:.1f} processor hours: `python benchmarks/fedpeft`."
    )


def grid(
    results: Results,
    data: str,
    method: str,
    epsilon: float,
    partition: str | None = None,
    figure: str = "accuracy",
) -> Mean:
    """A figure over the seeds of one cell of the grid."""
    where = partition or usual(data)
    found = [results.get(Cell("grid", data, method, where, epsilon, seed).key) for seed in SEEDS]
    return mean_of([row[figure] for row in found if row and "refused" not in row])


def main_table(results: Results, data: str) -> str:
    """Accuracy by method and epsilon, with what a client sends."""
    own = DATA[data]["own name"]
    check = [f"ε = 3, {own}"] if skewed(data) else []
    heads = ["method", "parameters", "KB a client and round", "ε = ∞", "ε = 8", "ε = 3", "ε = 1", *check]
    lines = [
        f"| {' | '.join(heads)} | ∞ to 3, points |",
        "|---|---:|---:|" + "---|" * (len(heads) - 3) + "---:|",
    ]
    for method in methods(data):
        sizes = of_method(results, data, method)
        if sizes is None:
            continue
        means = [grid(results, data, method, epsilon) for epsilon in EPSILONS]
        fall = means[0].value - means[2].value if means[0].seeds and means[2].seeds else math.nan
        sent = sizes.get("bytes_per_client_round")
        lines.append(
            f"| {method} | {sizes['parameters']:,} | {f'{sent / 1e3:,.1f}' if sent else ''} | "
            + " | ".join(cell_text(mean) for mean in means)
            + "".join(f" | {cell_text(grid(results, data, method, 3.0, OWN))}" for _ in check)
            + f" | {'' if math.isnan(fall) else f'{100 * fall:.1f}'} |"
        )
    if not check:
        return "\n".join([*lines, "", "Accuracy is that of the next token."])
    note = (
        "The partition of the records (Dirichlet 0.1 unless said otherwise) enters a step only through who "
        f"adds which share of the noise: the column of {own} is the check."
    )
    return "\n".join(lines) + "\n\n" + note


def perplexity_table(results: Results, data: str) -> str:
    """Perplexity by method and epsilon, of a language model."""
    if skewed(data):
        return ""
    lines = ["| method, perplexity | ε = ∞ | ε = 8 | ε = 3 | ε = 1 |", "|---|---|---|---|---|"]
    for method in methods(data):
        means = [grid(results, data, method, epsilon, figure="perplexity") for epsilon in EPSILONS]
        if any(mean.seeds for mean in means):
            lines.append(f"| {method} | " + " | ".join(cell_text(mean) for mean in means) + " |")
    return "\n".join(lines) if len(lines) > 2 else ""


def of_method(results: Results, data: str, method: str) -> dict[str, float] | None:
    """Sizes, the same in all private runs of a method; those of a run without privacy where there is none."""
    rows = [
        row
        for key, row in results.items()
        if key.split("/")[:3] in (["grid", data, method], ["tuning", data, method])
    ]
    return max(rows, key=lambda row: "bytes_per_client_round" in row, default=None)


def epsilon_table(results: Results, data: str) -> str:
    """The epsilon that is often printed for the same noise, and what an accountant makes of that."""
    delta, batch = DATA[data]["privacy"]["delta"], DATA[data]["privacy"]["expected_batch"]
    rounds, rate = DATA[data]["run"]["rounds"], batch / DATA[data]["privacy"]["records"]
    lines = [
        "| method | noise multiplier at ε = 3 | printed for that noise, a batch and tensor at a time | "
        "what that code would guarantee |",
        "|---|---:|---:|---:|",
    ]
    for method in methods(data):
        row = results.get(Cell("grid", data, method, usual(data), 3.0, SEEDS[0]).key)
        if row:
            sigma = row["noise_multiplier"]
            bound = honest(sigma, delta, sampling_rate=rate, rounds=rounds, tensors=row["tensors"])
            shown = f"{bound:,.0f}" if math.isfinite(bound) else "no bound"
            lines.append(f"| {method} | {sigma:.3f} | {printed(sigma, delta):.2f} | {shown} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def slice_table(results: Results, data: str) -> str:
    """One thing changed, at epsilon 3."""
    if data != FIRST:
        return ""
    lines = [f"| {SLICED} at ε = 3, with | accuracy | KB a client and round |", "|---|---|---:|"]
    names: dict[str, list[dict[str, Any] | None]] = {}
    for seed in SEEDS:
        for cell in slices(data, seed):
            label = ", ".join(f"{key} = {value}" for key, value in cell.change if key != "run.seed")
            names.setdefault(label, []).append(results.get(cell.key))
    for label, rows in names.items():
        present = [row for row in rows if row]
        if present and all("refused" in row for row in present):
            lines.append(f"| {label} | refused: {present[0]['refused']} | |")
        elif present:
            size = max(row["bytes_per_client_round"] for row in present) / 1e3
            lines.append(
                f"| {label} | {cell_text(mean_of([row['accuracy'] for row in present]))} | {size:,.1f} |"
            )
    return "\n".join(lines) if len(lines) > 2 else ""


def tuning_table(results: Results, data: str) -> str:
    """What tuning chose."""
    lines = ["| method | rate and clip with privacy | rate without |", "|---|---|---|"]
    for method in methods(data):
        private = chosen(results, Cell("grid", data, method, usual(data), 3.0, SEEDS[0]))
        plain = chosen(results, Cell("grid", data, method, usual(data), math.inf, SEEDS[0]))
        if private or plain:
            lines.append(
                f"| {method} | {f'{private[0]:g}, {private[1]:g}' if private else ''} | "
                f"{f'{plain[0]:g}' if plain else ''} |"
            )
    return "\n".join(lines) if len(lines) > 2 else ""


def prediction_table(results: Results) -> str:
    """Each prediction with its verdict."""
    lines = ["| prediction | data | seen | verdict |", "|---|---|---|---|"]
    rows = (
        f"| {verdict.prediction} | {verdict.data} | {verdict.seen} | {verdict.word} |"
        for verdict in predictions(results, grid)
    )
    return "\n".join([*lines, *rows])


def plots(results: Results, data: str) -> tuple[str, str]:
    """Accuracy by method and epsilon, and accuracy by bytes."""
    rows = {
        method: [
            Dot(mean.value, mean.half, number, f"ε = {epsilon:g}".replace("inf", "∞"))
            for number, epsilon in enumerate(EPSILONS, start=1)
            if (mean := grid(results, data, method, epsilon)).seeds
        ]
        for method in methods(data)
    }
    by_size = {}
    for method in methods(data):
        sizes, mean = of_method(results, data, method), grid(results, data, method, 3.0)
        if sizes and mean.seeds and "bytes_per_client_round" in sizes:
            label = f"{method}, {sizes['bytes_per_client_round'] / 1e3:,.0f} KB"
            by_size[sizes["bytes_per_client_round"], label] = [Dot(mean.value, mean.half, 3, "ε = 3")]
    ordered = {label: dots for (_, label), dots in sorted(by_size.items())}
    return (
        dot_plot("Accuracy by method", {name: dots for name, dots in rows.items() if dots}),
        dot_plot("Accuracy at ε = 3, by bytes that a client sends in a round", ordered),
    )


def html(charts: list[tuple[str, str, str]]) -> str:
    """The page of plots."""
    body = "".join(f"<h2>{escape(title)}</h2>{by_method}{by_size}" for title, by_method, by_size in charts)
    style = (
        "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
        "color:#1d2733;background:#fff}svg{width:100%;height:auto;margin:.5rem 0}"
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>PEFT methods under privacy</title>'
        f"<style>{style}</style><h1>PEFT methods in a federation, under honest privacy</h1>"
        "<p>Dots are means of the seeds, whiskers 95 % intervals; "
        f'tables: <a href="fedpeft.md">fedpeft.md</a>.</p>{body}</html>\n'
    )
