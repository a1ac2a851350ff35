"""Losses of next tokens through a frozen head, against those of all the logits."""

from __future__ import annotations

from functools import partial

import peft
import pytest
import torch
import transformers as hf
from torch.profiler import ProfilerActivity, profile

from fedpriv.training import frozen_head
from fedpriv.training.frozen_head import FrozenHead
from fedpriv.training.losses import IGNORED, causal_lm, losses_of
from fedpriv.training.per_record import PerRecordGradients
from fedpriv.training.per_record.clipping import SLACK

# PEFT asks for it by its older name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

VOCABULARY, CLIP = 300, 0.5
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}


def llama(**options):
    torch.manual_seed(0)
    return hf.LlamaForCausalLM(hf.LlamaConfig(vocab_size=VOCABULARY, **SIZES, **options))


def gpt2():
    torch.manual_seed(0)
    return hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2))


def phi():
    """With a bias at its head."""
    torch.manual_seed(0)
    return hf.PhiForCausalLM(hf.PhiConfig(vocab_size=VOCABULARY, **SIZES))


def with_lora(model, **options):
    conv = isinstance(model, hf.GPT2LMHeadModel)
    options = {
        "target_modules": ".*(q_proj|c_attn)",
        "init_lora_weights": False,
        "fan_in_fan_out": conv,
    } | options
    return peft.get_peft_model(model, peft.LoraConfig(r=2, task_type="CAUSAL_LM", **options)).eval()


def batch_of(lengths=(9, 4, 5, 1)):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, VOCABULARY, (len(lengths), max(lengths)), generator=generator)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return {"input_ids": ids, "attention_mask": mask.long(), "labels": ids.masked_fill(~mask, IGNORED)}


def gradients(model, losses):
    """The gradient of a sum in which each record weighs something else."""
    trained = [p for p in model.parameters() if p.requires_grad]
    weighed = losses @ torch.arange(1.0, 1.0 + len(losses))
    return torch.cat([g.flatten() for g in torch.autograd.grad(weighed, trained)])


def assert_the_same(found, wanted):
    assert (found - wanted).norm() < 1e-5 * wanted.norm()


@pytest.mark.parametrize("make", [llama, gpt2, phi])
@pytest.mark.parametrize("logits", [2**23, 1])
def test_losses_and_gradients_are_those_of_all_the_logits(monkeypatch, make, logits):
    """In one block and in many, the last one filled up; the last record has one token, and no target."""
    monkeypatch.setattr(frozen_head, "_LOGITS", logits)
    monkeypatch.setattr(frozen_head, "_ROWS", 4)
    model, batch = with_lora(make()), batch_of()
    head = FrozenHead.of(model)
    assert head is not None
    assert head.serves(model)
    plain, found = causal_lm(model, batch), causal_lm(model, batch, head=head)
    assert found[3] == 0.0
    torch.testing.assert_close(found, plain, rtol=1e-6, atol=1e-6)
    assert_the_same(gradients(model, found), gradients(model, plain))


def test_a_library_s_loss_takes_it_and_a_prompt_in_front_has_no_targets():
    model, batch = llama(), batch_of()
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    model = peft.get_peft_model(model, config).eval()
    losses = losses_of(model)
    assert isinstance(losses, partial)
    assert losses.keywords["head"].serves(model)
    found, plain = losses(model, batch), causal_lm(model, batch)
    torch.testing.assert_close(found, plain, rtol=1e-6, atol=1e-6)
    assert_the_same(gradients(model, found), gradients(model, plain))


def test_the_logits_are_never_there_as_a_whole(monkeypatch):
    """Counted by PyTorch: 1,008 positions of 4,000 words are 16 MB of logits, of which 0.5 are there."""
    monkeypatch.setattr(frozen_head, "_LOGITS", 1)
    model = with_lora(hf.LlamaForCausalLM(hf.LlamaConfig(vocab_size=4000, **SIZES)))
    batch, head = batch_of((64,) * 16), FrozenHead.of(model)

    def peak(**options):
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
            gradients(model, causal_lm(model, batch, **options))
        most = held = 0
        for event in watched.profiler.kineto_results.events():
            if event.name() == "[memory]":
                held += event.nbytes()
                most = max(most, held)
        return most

    frozen_head_rows = 128 * 4000 * 4
    logits = 1008 * 4000 * 4
    assert peak() > 2 * logits
    assert peak(head=head) < 3 * frozen_head_rows + logits / 2


def test_clipped_sums_are_those_of_single_records_and_all_their_logits():
    """A loop over records, each alone with every logit of it, is the reference."""
    model, batch = with_lora(llama(initializer_range=0.3)), batch_of((9, 4, 6))
    found = PerRecordGradients(model, losses_of(model)).clipped_sum(batch, clip=CLIP)
    total = torch.zeros(1, dtype=torch.float64)
    for row in range(3):
        one = {name: value[row : row + 1] for name, value in batch.items()}
        gradient = gradients(model, causal_lm(model, one)).double()
        assert gradient.norm() > CLIP
        total = total + gradient * (CLIP * SLACK / gradient.norm())
    flat = torch.cat([found.sums[name].flatten() for name, p in model.named_parameters() if p.requires_grad])
    assert (flat.double() - total).norm() < 1e-5 * total.norm()


def test_records_stay_apart_where_one_is_not_finite():
    model, batch = with_lora(llama()), batch_of()
    head = FrozenHead.of(model)
    with torch.no_grad():
        row = model.get_base_model().model.embed_tokens.weight
        row[7] = torch.nan
    batch["input_ids"][batch["input_ids"] == 7] = 8
    batch["input_ids"][1, 0] = 7
    found = causal_lm(model, batch, head=head)
    assert torch.isfinite(found).tolist() == [True, False, True, True]


def test_a_head_that_is_trained_or_added_to_is_left_to_the_model():
    model = llama()
    head = FrozenHead.of(model)
    assert not head.serves(model)  # all of it is trained
    adapted = with_lora(model)
    assert head.serves(adapted)
    model.lm_head.weight.requires_grad_(True)
    assert not head.serves(adapted)
    model.lm_head.weight.requires_grad_(False)
    handle = model.lm_head.register_forward_hook(lambda *_: None)
    assert not head.serves(adapted)
    handle.remove()
    model.lm_head.forward = model.lm_head.forward  # one of its own, as where weights are moved to and fro
    assert not head.serves(adapted)
    del model.lm_head.forward
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not head.serves(adapted)
    assert head.serves(adapted)

    added = with_lora(llama(), target_modules=["lm_head"])
    assert FrozenHead.of(added) is None
    assert not head.serves(added)
    saved = with_lora(llama(), modules_to_save=["lm_head"])
    assert FrozenHead.of(saved) is None


def test_what_becomes_of_the_head_s_output_is_seen():
    """Caps and scales come after the head; whether weights are small plays no part."""
    capped = hf.Gemma2ForCausalLM(
        hf.Gemma2Config(vocab_size=VOCABULARY, head_dim=8, num_key_value_heads=1, **SIZES)
    )
    assert FrozenHead.of(capped) is None
    scaled = hf.GraniteForCausalLM(
        hf.GraniteConfig(vocab_size=VOCABULARY, logits_scaling=8.0, num_key_value_heads=1, **SIZES)
    )
    assert FrozenHead.of(scaled) is None
    sees_images = hf.ViTForImageClassification(hf.ViTConfig(**SIZES, image_size=8, patch_size=4))
    assert FrozenHead.of(sees_images) is None


def test_asking_leaves_the_model_as_it_was():
    model = llama().train()
    model.model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    assert FrozenHead.of(model) is not None
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert "forward" not in vars(model.lm_head)


def test_a_model_in_half_precision_has_its_own_rounding_and_no_more():
    model, batch = with_lora(llama()).to(torch.bfloat16), batch_of()
    head = FrozenHead.of(model)
    assert head.serves(model)
    found, plain = causal_lm(model, batch, head=head), causal_lm(model, batch)
    torch.testing.assert_close(found, plain, rtol=1e-2, atol=1e-3)
    mine, theirs = (gradients(model, losses).float() for losses in (found, plain))
    assert (mine - theirs).norm() < 2e-2 * theirs.norm()
