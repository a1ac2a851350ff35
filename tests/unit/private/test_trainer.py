"""PrivateTrainer: what Trainer does, privately; what it shows, what it costs, and where it stops."""

from __future__ import annotations

import json
import logging
import math
import warnings

import numpy as np
import peft
import pytest
import torch
import transformers as hf

import fedpriv
from fedpriv.errors import BudgetExceeded, UnsafeParameters, UsageError
from fedpriv.hf import PrivateTrainer
from fedpriv.ledger.home import open_ledger

RECORDS, STEPS, NOISE = 240, 6, 0.9


@pytest.fixture(autouse=True)
def quiet():
    """Libraries that warn of each other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def classifier():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = hf.BertConfig(
            vocab_size=60,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            max_position_embeddings=24,
            num_labels=2,
        )
        return hf.BertForSequenceClassification(config)


def writer():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = hf.GPT2Config(vocab_size=60, n_embd=32, n_layer=2, n_head=4, n_positions=24, pad_token_id=0)
        model = hf.GPT2LMHeadModel(config)
        return peft.get_peft_model(
            model, peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["c_attn"], r=4, fan_in_fan_out=True)
        )


@pytest.fixture
def texts():
    """Two kinds of texts, told apart by the letters that they are of."""
    generator = np.random.default_rng(1)
    return [
        {
            "input_ids": (generator.integers(2, 30, size=generator.integers(3, 12)) + 28 * (i % 2)).tolist(),
            "label": i % 2,
        }
        for i in range(RECORDS)
    ]


def padded(items):
    longest = max(len(item["input_ids"]) for item in items)
    short = [longest - len(item["input_ids"]) for item in items]
    batch = {
        "input_ids": torch.tensor([i["input_ids"] + [0] * n for i, n in zip(items, short, strict=True)]),
        "attention_mask": torch.tensor([[1] * (longest - n) + [0] * n for n in short]),
    }
    if "label" in items[0]:
        batch["labels"] = torch.tensor([item["label"] for item in items])
    else:
        batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    return batch


@pytest.fixture
def trainer(texts, tmp_path):
    def make(model=None, *, data=None, arguments=None, **options):
        settings = {
            "output_dir": str(tmp_path / "out"),
            "per_device_train_batch_size": 10,
            "gradient_accumulation_steps": 4,
            "max_steps": STEPS,
            "learning_rate": 1e-2,
            "lr_scheduler_type": "constant",
            "logging_steps": 2,
            "save_steps": 2,
            "report_to": [],
            "disable_tqdm": True,
            "use_cpu": True,
            **(arguments or {}),
        }
        return PrivateTrainer(
            classifier() if model is None else model,
            args=hf.TrainingArguments(**settings),
            train_dataset=texts if data is None else data,
            data_collator=padded,
            **{"budget": fedpriv.Budget(8, 1e-4), "noise_multiplier": NOISE, **options},
        )

    return make


def spent():
    with open_ledger() as ledger:
        (budget,) = ledger.datasets()
        return ledger.spent(budget.dataset)


class Interrupt(hf.TrainerCallback):
    """The process dies after a step."""

    def __init__(self, after):
        self.after = after

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.after:
            raise KeyboardInterrupt


def test_training_keeps_its_budget_and_shows_nothing_private(trainer, tmp_path):
    subject = trainer(arguments={"logging_steps": 1})
    before = {name: p.detach().clone() for name, p in subject.model.named_parameters()}
    output = subject.train()
    assert output.global_step == STEPS
    assert math.isnan(output.training_loss)
    shown = {key for line in subject.state.log_history for key in line}
    assert shown == {
        *("learning_rate", "epsilon", "epoch", "step"),
        *("train_runtime", "train_samples_per_second", "train_steps_per_second"),
    }
    assert subject.state.total_flos == 0
    last = subject.state.log_history[-1]["epsilon"]
    assert last == spent().epsilon == subject.private.epsilon <= 8
    assert spent().released == STEPS
    assert any(not torch.equal(before[name], p) for name, p in subject.model.named_parameters())
    saved = (tmp_path / "out" / f"checkpoint-{STEPS}" / "trainer_state.json").read_text()
    assert '"loss"' not in saved
    assert "grad_norm" not in saved


def test_the_expected_batch_is_that_of_all_accumulated_ones(trainer):
    subject = trainer(metrics=True, arguments={"logging_steps": 1, "max_steps": STEPS})
    subject.train()
    assert subject.private.expected_batch == 40
    assert subject.private.plan.sampling_rate == pytest.approx(40 / RECORDS)
    sizes = [line["records"] for line in subject.state.log_history if "records" in line]
    # Six samples of 40 on average: their mean is within 5 standard deviations but for a chance of 6e-7.
    assert abs(np.mean(sizes[:STEPS]) - 40) < 5 * (40 * 5 / 6 / STEPS) ** 0.5
    assert "loss" in subject.state.log_history[0]
    with open_ledger() as ledger:
        (budget,) = ledger.datasets()
        assert "loss" in ledger.rows(budget.dataset)[1].body["details"]["reports"]


def test_evaluation_and_the_best_model_work_as_usual(trainer, texts):
    subject = trainer(
        arguments={"eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True},
        eval_dataset=texts[:40],
    )
    subject.train()
    losses = [line["eval_loss"] for line in subject.state.log_history if "eval_loss" in line]
    assert len(losses) == STEPS // 2
    assert subject.evaluate()["eval_loss"] == pytest.approx(min(losses), rel=1e-4)
    assert spent().released == STEPS


@pytest.mark.parametrize("setting", ["bf16", "gradient_checkpointing"])
def test_a_causal_model_trains_with_lora_in_mixed_precision_and_with_checkpointing(trainer, texts, setting):
    data = [{"input_ids": text["input_ids"]} for text in texts]
    subject = trainer(writer(), data=data, arguments={setting: True, "max_steps": 3})
    frozen = subject.model.base_model.model.transformer.wte.weight.detach().clone()
    subject.train()
    assert torch.equal(frozen, subject.model.base_model.model.transformer.wte.weight)
    lora = [p for name, p in subject.model.named_parameters() if "lora_B" in name]
    assert all(bool(p.any()) for p in lora)
    assert spent().released == 3


def test_a_run_that_died_goes_on_from_its_checkpoint(trainer, tmp_path):
    first = trainer(callbacks=[Interrupt(after=3)])
    with pytest.raises(KeyboardInterrupt):
        first.train()
    state = json.loads((tmp_path / "out" / "checkpoint-2" / "fedpriv_run.json").read_text())
    assert state["steps"] == 2
    second = trainer()
    output = second.train(resume_from_checkpoint=True)
    # Step 3 was paid for and lost with the process: one fewer is left.
    assert output.global_step == STEPS - 1
    assert (spent().released, len(spent().runs)) == (STEPS, 1)
    assert second.state.log_history[-1]["epsilon"] == spent().epsilon
    assert second.private.remaining == 0


def test_it_stops_at_the_budget_with_a_line_and_keeps_the_model(trainer, caplog):
    class Lower(hf.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 3:
                with open_ledger() as ledger:
                    (budget,) = ledger.datasets()
                    ledger.set_budget(budget.dataset, budget.name, 0.05, budget.delta)

    subject = trainer(callbacks=[Lower()])
    with caplog.at_level(logging.WARNING, logger="fedpriv.hf"):
        output = subject.train()
    assert output.global_step == 3
    assert "0.05 allowed" in subject.stopped
    assert [record.getMessage() for record in caplog.records if record.name == "fedpriv.hf"] == [
        f"training stops at the privacy budget: {subject.stopped}"
    ]
    assert spent().reserved == 3
    assert all(torch.isfinite(p).all() for p in subject.model.parameters())


def test_a_plan_that_the_budget_does_not_admit_is_refused(trainer):
    subject = trainer(budget=fedpriv.Budget(0.1, 1e-4))
    before = {name: p.detach().clone() for name, p in subject.model.named_parameters()}
    with pytest.raises(BudgetExceeded, match=r"allows 0\.1"):
        subject.train()
    assert all(torch.equal(before[name], p) for name, p in subject.model.named_parameters())


def test_epochs_count_expected_batches(trainer):
    subject = trainer(arguments={"max_steps": -1, "num_train_epochs": 2}, noise_multiplier=5.0)
    assert subject.train().global_step == 12
    assert subject.private.plan.steps == 12


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("label_smoothing_factor", 0.1),
        ("dataloader_drop_last", True),
        ("auto_find_batch_size", True),
        ("neftune_noise_alpha", 5.0),
        ("torch_compile", True),
        ("include_num_input_tokens_seen", "all"),
        ("bf16_full_eval", True),
        ("train_sampling_strategy", "group_by_length"),
    ],
)
def test_what_cannot_be_private_is_refused_by_name(trainer, argument, value):
    with pytest.raises(UnsafeParameters, match=argument):
        trainer(arguments={argument: value})


def test_a_trainer_that_cannot_train_says_why(trainer, texts):
    with pytest.raises(UsageError, match="needs a budget"):
        trainer(budget=None).train()
    with pytest.raises(UsageError, match="compute_loss_func"):
        trainer(compute_loss_func=lambda *_: None)
    subject = trainer()
    subject.train()
    with pytest.raises(UsageError, match="has finished"):
        trainer(budget=fedpriv.Budget(8, 1e-4)).train(resume_from_checkpoint=True)


def test_the_caller_s_arguments_are_left_as_they_are(texts, tmp_path):
    given = hf.TrainingArguments(
        output_dir=str(tmp_path), gradient_accumulation_steps=4, use_cpu=True, report_to=[]
    )
    PrivateTrainer(classifier(), args=given, train_dataset=texts, budget=fedpriv.Budget(8, 1e-4))
    assert (given.gradient_accumulation_steps, given.max_grad_norm) == (4, 1.0)
