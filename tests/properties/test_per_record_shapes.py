"""No coincidence of sizes changes a gradient: batches as long as sequence, width, heads, ranks or classes."""

from __future__ import annotations

import warnings

import peft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parties.small_models import (
    FAMILIES,
    LABELS,
    away_from_zero,
    batch_of,
    losses,
    record_of,
)
from reference.record_gradients import clipped, record_rows

from fedpriv.training.per_record import PerRecordGradients

METHODS = ("lora", "dora", "full", "prompt", "bitfit")


@st.composite
def shapes(draw: st.DrawFn) -> dict:
    heads = draw(st.sampled_from([2, 3, 4, 6]))
    width = heads * draw(st.sampled_from([2, 4]))
    rank = draw(st.integers(1, 8))
    length = draw(st.integers(3, 12))
    virtual = draw(st.integers(1, 6))
    # Half of the draws coincide with something.
    same = st.sampled_from([heads, width, rank, length, virtual, length + virtual, LABELS, length - 1])
    return {
        "family": draw(st.sampled_from(["bert", "gpt2", "llama", "gpt2-classes", "bert-tokens"])),
        "method": draw(st.sampled_from(METHODS)),
        "heads": heads,
        "width": width,
        "rank": rank,
        "length": length,
        "virtual": virtual,
        "first": draw(st.one_of(same, st.integers(1, 6))),
        "size": draw(st.one_of(same, st.integers(1, 13))),
    }


def build(shape: dict) -> torch.nn.Module:
    family = FAMILIES[shape["family"]]
    sizes = {"hidden_size": shape["width"], "num_attention_heads": shape["heads"]}
    if shape["family"] == "llama":
        sizes["num_key_value_heads"] = shape["heads"]
    torch.manual_seed(0)
    method = shape["method"]
    if method == "prompt" and shape["family"] == "gpt2-classes":
        method = "lora"  # a head that does not see its padding: refused
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if shape["family"] == "bert-tokens":
            import transformers as hf

            config = hf.BertConfig(
                vocab_size=60,
                max_position_embeddings=24,
                num_hidden_layers=1,
                intermediate_size=2 * shape["width"],
                num_labels=LABELS,
                **sizes,
            )
            model = hf.BertForTokenClassification(config)
        elif shape["family"] == "gpt2-classes":
            import transformers as hf

            model = hf.GPT2ForSequenceClassification(
                hf.GPT2Config(
                    vocab_size=60,
                    n_positions=24,
                    n_embd=shape["width"],
                    n_layer=1,
                    n_head=shape["heads"],
                    num_labels=LABELS,
                    pad_token_id=0,
                )
            )
        else:
            model = family.build(**sizes)
        if method in ("lora", "dora"):
            fan = {"fan_in_fan_out": True} if shape["family"].startswith("gpt2") else {}
            config = peft.LoraConfig(
                r=shape["rank"],
                target_modules=list(family.targets),
                use_dora=method == "dora",
                task_type=family.task,
                **fan,
            )
            model = peft.get_peft_model(model, config)
        elif method == "prompt":
            config = peft.PromptTuningConfig(num_virtual_tokens=shape["virtual"], task_type=family.task)
            model = peft.get_peft_model(model, config)
        elif method == "bitfit" and shape["family"] != "llama":
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(name.endswith("bias"))
    model = model.eval()
    away_from_zero(model)
    return model


@settings(max_examples=40, derandomize=True)
@given(shapes())
def test_the_sum_does_not_depend_on_how_sizes_coincide(shape):
    """An engine that saw another batch first, of other sizes, has the loop's sum for this one."""
    model, family = build(shape), shape["family"]
    engine = PerRecordGradients(model, losses)
    engine.clipped_sum(batch_of(family, shape["first"], length=max(3, shape["length"] - 1), seed=1), clip=1.0)
    batch = batch_of(family, shape["size"], length=shape["length"])
    singles = [record_of(batch, index) for index in range(shape["size"])]
    rows = record_rows(model, losses, singles)
    clip = 0.8
    expected = clipped(rows, clip)
    whole = sum((value**2).sum() for value in expected.values()) ** 0.5
    found = engine.clipped_sum(batch, clip=clip).sums
    assert set(found) == set(expected)
    off = sum(((found[n].double().numpy() - expected[n]) ** 2).sum() for n in expected) ** 0.5
    assert off <= 1e-5 * whole + 1e-7
