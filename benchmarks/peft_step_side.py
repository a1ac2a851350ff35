"""One side of ``peft_step.py``: models, adapters and what one training step is under each setup.

Run as a process of its own, with a job as JSON; the last line of its output is the result as JSON.
"""

from __future__ import annotations

import gc
import hashlib
import json
import re
import secrets
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy, pad

from fedpriv.crypto import Keystream
from fedpriv.private.release import Grid
from fedpriv.training import FrozenPrefix
from fedpriv.training.losses import losses_of
from fedpriv.training.matmul import fast_linear
from fedpriv.training.per_record import PerRecordGradients

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import corpora
import models

Step = Callable[[], None]

POSITIONS = 128
BATCH = {"minilm": 32, "smollm2": 4, "dinov2": 32}
PIXELS = 112
DEPTH = {"minilm": 6, "smollm2": 30, "dinov2": 12}
QV = "query|value|q_proj|v_proj"
ALL = QV + "|key|dense|k_proj|o_proj|gate_proj|up_proj|down_proj|fc1|fc2"
# name -> targets, rank, part of the blocks (from the top) that carry the adapter
ADAPTERS: dict[str, tuple[str, int, float]] = {
    "q,v r8": (QV, 8, 1),
    "all-linear r8": (ALL, 8, 1),
    "q,v r16": (QV, 16, 1),
    "q,v r8, top half": (QV, 8, 1 / 2),
    "q,v r8, top quarter": (QV, 8, 1 / 4),
}
CLIP, NOISE, RATE = 1.0, 1.0, 1e-3


def base(name: str) -> Any:
    """The model without an adapter, dropout off in both modes so that setups are comparable."""
    import transformers

    transformers.logging.set_verbosity_error()
    if name == "minilm":
        made = transformers.AutoModelForSequenceClassification.from_pretrained(models.minilm(), num_labels=2)
    elif name == "smollm2":
        made = transformers.AutoModelForCausalLM.from_pretrained(models.smollm2())
        made.config.use_cache = False
    else:
        made = transformers.AutoModelForImageClassification.from_pretrained(models.dinov2(), num_labels=10)
    for module in made.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0
    return made


def adapted(name: str, adapter: str) -> Any:
    """The model with LoRA (B away from zero, as after some steps) and, for a classifier, a trained head."""
    targets, rank, part = ADAPTERS[adapter]
    torch.manual_seed(0)
    first = DEPTH[name] - max(1, int(DEPTH[name] * part))
    blocks = "|".join(str(i) for i in range(first, DEPTH[name]))
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules=rf".*\.layers?\.({blocks})\..*\.({targets})",
        modules_to_save=None if name == "smollm2" else ["classifier"],
    )
    model = get_peft_model(base(name), config)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "lora_B" in key:
                parameter.normal_(std=0.01)
    return model.train()


def batch_of(name: str) -> dict[str, torch.Tensor]:
    """Random records, each of the full length: what a step costs does not depend on what they say."""
    torch.manual_seed(1)
    size = BATCH[name]
    numbers = {"record": torch.arange(size)}
    if name == "dinov2":
        pixels = torch.randn(size, 3, PIXELS, PIXELS)
        return numbers | {"pixel_values": pixels, "labels": torch.randint(0, 10, (size,))}
    ids = torch.randint(1000, 30000, (size, POSITIONS))
    labels = ids if name == "smollm2" else torch.randint(0, 2, (size,))
    return numbers | {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def inputs_of(batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The model's own arguments."""
    return {key: value for key, value in batch.items() if key not in ("record", "labels")}


def losses(model: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """One a record: cross-entropy of the class, or the mean over the record's own tokens."""
    logits = model(**inputs_of(batch)).logits
    if logits.dim() == 2:
        return cross_entropy(logits, batch["labels"], reduction="none")
    # The last position has no target; as the library's own losses do, so that no copy of the logits is made.
    targets = pad(batch["labels"][:, 1:], (0, 1), value=-100)
    each = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="none")
    return each.view(targets.shape).sum(1) / (targets.shape[1] - 1)


def optimizer_of(model: Any, rate: float = RATE) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)


def plain(model: Any, batch: dict[str, torch.Tensor]) -> Step:
    """Not private."""
    optimizer = optimizer_of(model)

    def step() -> None:
        optimizer.zero_grad()
        losses(model, batch).mean().backward()
        optimizer.step()

    return step


def plain_fast(model: Any, batch: dict[str, torch.Tensor]) -> Step:
    """Not private, within the products that fedpriv takes for linear maps."""
    step = plain(model, batch)

    def within() -> None:
        with fast_linear():
            step()

    return within


def opacus_hooks(model: Any, batch: dict[str, torch.Tensor]) -> Step:
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer

    def backward(wrapped: Any, optimizer: Any) -> None:
        losses(wrapped, batch).sum().backward()

    return opacus_step(GradSampleModule(model, loss_reduction="sum"), model, batch, DPOptimizer, backward)


def opacus_ghost(model: Any, batch: dict[str, torch.Tensor]) -> Step:
    from opacus.grad_sample import GradSampleModuleFastGradientClipping
    from opacus.optimizers import DPOptimizerFastGradientClipping
    from opacus.utils.fast_gradient_clipping_utils import DPTensorFastGradientClipping

    def backward(wrapped: Any, optimizer: Any) -> None:
        DPTensorFastGradientClipping(wrapped, optimizer, losses(wrapped, batch), "sum").backward()

    wrapped = GradSampleModuleFastGradientClipping(model, loss_reduction="sum", max_grad_norm=CLIP)
    return opacus_step(wrapped, model, batch, DPOptimizerFastGradientClipping, backward)


def opacus_step(
    wrapped: Any,
    model: Any,
    batch: dict[str, torch.Tensor],
    kind: Any,
    backward: Callable[[Any, Any], None],
) -> Step:
    """A step with an optimizer of Opacus of this ``kind``."""
    optimizer = kind(
        optimizer_of(model),
        noise_multiplier=NOISE,
        max_grad_norm=CLIP,
        expected_batch_size=len(batch["record"]),
        loss_reduction="mean",
    )

    def step() -> None:
        optimizer.zero_grad()
        backward(wrapped, optimizer)
        optimizer.step()

    return step


def fedpriv(model: Any, batch: dict[str, torch.Tensor], dtype: str | None = None) -> Step:
    """Clipped sum, rounded to the grid, exact discrete Gaussian noise, AdamW."""
    optimizer, own = optimizer_of(model), own_losses(model, batch)
    engine = PerRecordGradients(model, own if dtype is None else standing_in(model, batch, own, dtype))
    words = Keystream(secrets.token_bytes(32)).words
    parameters, records = engine.parameters(), len(batch["record"])
    size = sum(parameter.numel() for parameter in parameters.values())
    grid = Grid.finest(CLIP, NOISE, size, 10_000)

    def step() -> None:
        sums = engine.clipped_sum(batch, clip=CLIP).sums
        doubles = {name: total.double() for name, total in sums.items()}
        for name, noisy in grid.release(doubles, records, words, hashlib.sha256()):
            parameters[name].grad = noisy.to(parameters[name].dtype)
        optimizer.step()
        optimizer.zero_grad()

    return step


def own_losses(model: Any, batch: dict[str, torch.Tensor]) -> Any:
    """What a library user gets without asking: of next tokens, losses without all the logits at once."""
    if batch["labels"].dim() == 1:
        return losses
    chosen = losses_of(model)
    return lambda model, some: chosen(model, {**inputs_of(some), "labels": some["labels"]})


def standing_in(model: Any, batch: dict[str, torch.Tensor], own: Any, dtype: str) -> Any:
    """The losses with the hidden states below the first trained block kept."""

    def of_records(records: Any) -> dict[str, torch.Tensor]:
        return {key: value[records] for key, value in inputs_of(batch).items()}

    prefix = FrozenPrefix.over(model, of_records, records=len(batch["record"]), budget=1 << 32, dtype=dtype)
    if prefix is None:
        raise RuntimeError("nothing to keep below the first trained block")

    def above(model: Any, some: Mapping[str, torch.Tensor]) -> torch.Tensor:
        with prefix.standing_in(some["record"]):
            return own(model, some)

    return above


SETUPS: dict[str, Callable[..., Step]] = {
    "plain": plain,
    "plain, fast linear": plain_fast,
    "opacus hooks": opacus_hooks,
    "opacus ghost": opacus_ghost,
    "fedpriv": fedpriv,
    "fedpriv, prefix float32": lambda model, batch: fedpriv(model, batch, "float32"),
    "fedpriv, prefix float16": lambda model, batch: fedpriv(model, batch, "float16"),
}


def timed(step: Step) -> tuple[float, float]:
    """CPU time of all threads, and wall time, in seconds."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    step()
    return time.process_time() - cpu, time.perf_counter() - wall


def times(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The setups in turn, each turn beginning with another one."""
    batch = batch_of(job["model"])
    steps: dict[str, Step] = {}
    rows: dict[str, dict[str, Any]] = {}
    for name in job["setups"]:
        rows[name] = {"setup": name, "cpu_s": [], "wall_s": []}
        try:
            step = SETUPS[name](adapted(job["model"], job["adapter"]), batch)
            rows[name]["first_cpu_s"] = timed(step)[0]
            steps[name] = step
        except Exception as error:
            rows[name]["error"] = failure(error)
    for turn in range(job["repeat"]):
        names = list(steps)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            cpu, wall = timed(steps[name])
            rows[name]["cpu_s"].append(cpu)
            rows[name]["wall_s"].append(wall)
    return list(rows.values())


def memory(job: dict[str, Any]) -> dict[str, Any]:
    """How far a step's resident memory rises above what the process held before its first step.

    The kernel's high-water mark (VmHWM), reset right before the first of two steps, after a forward pass has
    touched every weight.  The first step allocates the optimizer's state, and tries the model in fedpriv.  A
    third step is held against what the process holds by then: what one step needs, without the code, the
    state and the scratch that stay.
    """
    model, batch = adapted(job["model"], job["adapter"]), batch_of(job["model"])
    try:
        step = SETUPS[job["setup"]](model, batch)
        with torch.no_grad():
            model(**{key: value[:1] for key, value in inputs_of(batch).items()})
        gc.collect()
        before = _kilobytes("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        for _ in range(2):
            step()
        found = {"before_kib": before, "rise_kib": _kilobytes("VmHWM") - before}
        gc.collect()
        held = _kilobytes("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        step()
        return {**found, "later_step_kib": _kilobytes("VmHWM") - held}
    except Exception as error:
        return {"error": failure(error)}


def _kilobytes(key: str) -> int:
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


def failure(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


STEPS, LENGTH, HELD = 24, 48, 512


def learning(job: dict[str, Any]) -> list[dict[str, Any]]:
    """MiniLM on film reviews, LoRA r8 on the top half: the same batches under each setup, without noise.

    With a clip that touches nothing ``fedpriv`` has to follow plain training; with one that does, the prefix
    has to follow the engine without it.
    """
    import transformers

    texts, names, _ = corpora.reviews()
    order = np.random.default_rng(0).permutation(len(texts))[: STEPS * 32 + HELD]
    tokenizer = transformers.AutoTokenizer.from_pretrained(models.minilm())
    rows = tokenizer([texts[i] for i in order], truncation=True, max_length=LENGTH)["input_ids"]
    labels = torch.tensor([int(names[i] == "fresh") for i in order])

    def of_records(records: Any) -> dict[str, torch.Tensor]:
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(rows[i]) for i in records], batch_first=True)
        return {"input_ids": ids, "attention_mask": (ids != 0).long()}

    def batch_at(records: range) -> dict[str, torch.Tensor]:
        return {"record": torch.tensor(records), "labels": labels[list(records)], **of_records(records)}

    results: list[dict[str, Any]] = []
    reference: dict[str, torch.Tensor] = {}
    for setup, clip, dtype in (
        ("plain", None, None),
        ("fedpriv, clip 1e6", 1e6, None),
        ("fedpriv, clip 1", 1.0, None),
        ("fedpriv, clip 1, prefix float32", 1.0, "float32"),
        ("fedpriv, clip 1, prefix float16", 1.0, "float16"),
    ):
        model = adapted("minilm", "q,v r8, top half").eval()
        optimizer, chosen = optimizer_of(model, 2e-3), losses
        if dtype is not None:
            prefix = FrozenPrefix.over(
                model,
                of_records,
                records=len(rows),
                lengths=[len(row) for row in rows],
                budget=1 << 32,
                dtype=dtype,
            )
            assert prefix is not None

            def chosen(model: Any, some: Any, prefix: FrozenPrefix = prefix) -> torch.Tensor:
                with prefix.standing_in(some["record"]):
                    return losses(model, some)

        engine = PerRecordGradients(model, chosen)
        for start in range(0, STEPS * 32, 32):
            batch = batch_at(range(start, start + 32))
            if clip is None:
                losses(model, batch).mean().backward()
            else:
                sums = engine.clipped_sum(batch, clip=clip).sums
                for name, parameter in engine.parameters().items():
                    parameter.grad = sums[name] / 32
            optimizer.step()
            optimizer.zero_grad()
        held = range(STEPS * 32, STEPS * 32 + HELD)
        with torch.no_grad():
            logits = torch.cat([model(**of_records(held[i : i + 64])).logits for i in range(0, HELD, 64)])
        here = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
        reference = here if clip is None or (clip == 1.0 and dtype is None) else reference
        moved = torch.cat([(here[name] - reference[name]).flatten() for name in here]).norm()
        results.append(
            {
                "setup": setup,
                "accuracy": float((logits.argmax(1) == labels[list(held)]).float().mean()),
                "loss": float(cross_entropy(logits, labels[list(held)])),
                "away": float(moved / torch.cat([p.flatten() for p in reference.values()]).norm()),
            }
        )
    return results


def main() -> None:
    warnings.simplefilter("ignore")
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    work = {"time": times, "memory": memory, "learning": learning}[job["kind"]]
    print(json.dumps(work(job)))


if __name__ == "__main__":
    main()
