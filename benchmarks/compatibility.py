"""Which methods get right per-record gradients on which models: Opacus by hooks, by ghost clipping, and this.

    OMP_NUM_THREADS=1 python benchmarks/compatibility.py [--json FILE] [--markdown FILE] [--only FAMILY]

Each cell is one clipped sum of a small model (two blocks of width 32), without dropout, compared with a loop
over single records by plain autograd.  ``right``: within 1e-4 of it; ``wrong``: without an error, and by how
much of its length it is off; otherwise the error.  Opacus is used as its tutorials do: a wrapped module, the
sum of one loss a record.  Losses are scaled so that half of the gradients are longer than the clip, 1.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import platform
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np
import torch
from opacus import GradSampleModule
from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPTensorFastGradientClipping
from parties.small_models import FAMILIES, batch_of, losses, methods, model_of, record_of, without_dropout
from reference.record_gradients import clipped, record_rows
from torch import nn

from fedpriv.training.per_record import PerRecordGradients

RECORDS = 6
ROOM = 1 - 2**-10
Sums = dict[str, torch.Tensor]
Losses = Callable[[nn.Module, dict], torch.Tensor]
Way = Callable[[nn.Module, dict, Losses], Sums]


def hooks(model: nn.Module, batch: dict, scaled: Losses) -> Sums:
    """Opacus's default.  Its hooks sit on the modules within the wrapper, which hides the configuration."""
    wrapped = GradSampleModule(model, loss_reduction="sum")
    optimizer = DPOptimizer(
        torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=1.0,
        expected_batch_size=1,
        loss_reduction="sum",
    )
    scaled(wrapped._module, batch).sum().backward()
    optimizer.clip_and_accumulate()
    return {name: p.summed_grad for name, p in model.named_parameters() if p.requires_grad}


def ghost(model: nn.Module, batch: dict, scaled: Losses) -> Sums:
    """Opacus's fast gradient clipping."""
    wrapped = GradSampleModuleFastGradientClipping(model, max_grad_norm=1.0, loss_reduction="sum")
    optimizer = DPOptimizerFastGradientClipping(
        torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=1.0,
        expected_batch_size=1,
        loss_reduction="sum",
    )
    each = scaled(wrapped._module, batch)
    DPTensorFastGradientClipping(wrapped, optimizer, each, "sum").backward()
    optimizer.accumulate()
    return {name: p.summed_grad for name, p in model.named_parameters() if p.requires_grad}


def engine(model: nn.Module, batch: dict, scaled: Losses) -> Sums:
    return PerRecordGradients(model, scaled).clipped_sum(batch, clip=1 / ROOM).sums


WAYS: dict[str, tuple[str, Way]] = {
    "hooks": ("Opacus, hooks (`GradSampleModule`)", hooks),
    "ghost": ("Opacus, ghost clipping (`GradSampleModuleFastGradientClipping`)", ghost),
    "fedpriv": ("fedpriv (`PerRecordGradients`)", engine),
}


def cell(family: str, method: str, way: Way) -> dict[str, object]:
    model = without_dropout(model_of(family, method)).train()
    batch = batch_of(family, RECORDS)
    rows = record_rows(model, losses, [record_of(batch, i) for i in range(RECORDS)])
    norms = np.sqrt(sum((found.reshape(RECORDS, -1) ** 2).sum(1) for found in rows.values()))
    scale = 1.0 / float(np.median(norms))
    rows = {name: found * scale for name, found in rows.items()}
    expected = clipped(rows, 1 / ROOM)
    whole = {name: found.sum(0) for name, found in rows.items()}
    at_once = {name: total * min(1.0, 1 / _length(whole)) for name, total in whole.items()}
    try:
        sums = way(copy.deepcopy(model), batch, lambda model, batch: losses(model, batch) * scale)
        found = {name: value.detach().double().numpy() for name, value in sums.items()}
        off = _length({name: found[name] - expected[name] for name in expected}) / _length(expected)
        as_one = _length({name: found[name] - at_once[name] for name in at_once}) / _length(at_once)
    except Exception as error:  # whatever it is, it is the result
        text = " ".join(str(error).split()) or "no message"
        return {"result": "error", "error": f"{type(error).__name__}: {text[:140]}"}
    if off <= 1e-4:
        return {"result": "right", "off": off}
    return {"result": "wrong", "off": off, "batch_as_one_record": as_one <= 1e-3}


def _length(values: dict[str, np.ndarray]) -> float:
    return math.sqrt(sum(float((value**2).sum()) for value in values.values()))


def markdown(result: dict) -> str:
    lines = [
        "# Which per-record gradients are right",
        "",
        " ".join(
            [
                f"Written by `{result['command']}` with",
                ", ".join(f"{name} {number}" for name, number in result["versions"].items()) + ".",
                f"Clipped sums of {RECORDS} records against a loop over single records.",
                "**right**: within 1e-4. **WRONG**: no error, and how far off.",
                "**WRONG: one clip for the batch**: the gradient of the whole batch was clipped as if it",
                "were a record's, so that one record can move it by 2 C.",
            ]
        ),
    ]
    families = list(dict.fromkeys(one["family"] for one in result["cells"]))
    names = list(dict.fromkeys(one["method"] for one in result["cells"]))
    by = {(one["way"], one["method"], one["family"]): one for one in result["cells"]}
    for way, (title, _) in WAYS.items():
        notes: dict[str, int] = {}
        count = {
            kind: sum(key[0] == way and one["result"] == kind for key, one in by.items()) for kind in KINDS
        }
        lines += ["", f"## {title}", "", ", ".join(f"{count[kind]} {kind}" for kind in KINDS) + ".", ""]
        lines += ["| | " + " | ".join(families) + " |", "|---" * (len(families) + 1) + "|"]
        for name in names:
            row = [_text(by.get((way, name, family)), notes) for family in families]
            lines.append(f"| {name} | " + " | ".join(row) + " |")
        lines += [""] if notes else []
        lines += [f"{number}. {text.replace('|', '/')}" for text, number in notes.items()]
    return "\n".join(lines) + "\n"


KINDS = ("right", "wrong", "error")


def _text(one: dict | None, notes: dict[str, int]) -> str:
    if one is None:
        return ""
    if one["result"] == "right":
        return "right"
    if one["result"] == "error":
        return f"error {notes.setdefault(one['error'], len(notes) + 1)}"
    return (
        "**WRONG: one clip for the batch**"
        if one["batch_as_one_record"]
        else f"**WRONG, {one['off']:.0%} off**"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    results = Path(__file__).resolve().parent / "results"
    parser.add_argument("--json", type=Path, default=results / "compatibility.json")
    parser.add_argument("--markdown", type=Path, default=results / "compatibility.md")
    parser.add_argument("--only", choices=list(FAMILIES))
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    started, cells = time.perf_counter(), []
    for family in [chosen.only] if chosen.only else FAMILIES:
        for method in sorted(methods(family)):
            for way, (_, function) in WAYS.items():
                one = {"family": family, "method": method, "way": way} | cell(family, method, function)
                cells.append(one)
                print(f"{family:15} {method:15} {way:8} {one['result']:6} {one.get('error', one.get('off'))}")
    result = {
        "command": "python benchmarks/compatibility.py",
        "versions": {"Python": platform.python_version()}
        | {name: version(name) for name in ("torch", "transformers", "peft", "opacus", "fedpriv")},
        "records": RECORDS,
        "seconds": round(time.perf_counter() - started),
        "cells": cells,
    }
    chosen.json.write_text(json.dumps(result, indent=1) + "\n")
    chosen.markdown.write_text(markdown(result))
    for way in WAYS:
        print(way, {kind: sum(c["way"] == way and c["result"] == kind for c in cells) for kind in KINDS})


if __name__ == "__main__":
    main()
