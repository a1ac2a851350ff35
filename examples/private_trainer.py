"""Hugging Face's Trainer made private: SmolLM2-135M with LoRA learns how Hamlet is written.

    python examples/private_trainer.py
    python examples/private_trainer.py --steps 2 --batch 8 --held-out 8    # a quick look

A record is a piece of the play of so many tokens.  The budget of the play stands in the ledger in
$FEDPRIV_HOME; a second run on it is refused.
"""

import argparse
import math
import tempfile

import corpora
import models
import peft
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments, default_data_collator

import fedpriv
from fedpriv.hf import PrivateTrainer


def pieces(length: int, held_out: int) -> tuple[list[dict[str, list[int]]], list[dict[str, list[int]]]]:
    """The play in pieces of ``length`` tokens: to train on, and the last ones to judge by."""
    tokens = AutoTokenizer.from_pretrained(models.smollm2())(corpora.hamlet())["input_ids"]
    cut = [tokens[start : start + length] for start in range(0, len(tokens) - length + 1, length)]
    records = [{"input_ids": piece, "attention_mask": [1] * length, "labels": piece} for piece in cut]
    return records[:-held_out], records[-held_out:]


def writer() -> torch.nn.Module:
    """SmolLM2 with LoRA on the queries and values of its last six blocks."""
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(models.smollm2(), dtype=torch.float32)
    last = base.config.num_hidden_layers
    adapter = peft.LoraConfig(
        task_type="CAUSAL_LM",
        target_modules=["q_proj", "v_proj"],
        layers_to_transform=list(range(last - 6, last)),
        r=2,
        lora_alpha=8,
    )
    return peft.get_peft_model(base, adapter)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--epsilon", type=float, default=8.0)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=96, help="expected records in a step; a multiple of 8")
    parser.add_argument("--length", type=int, default=48, help="tokens in a record")
    parser.add_argument("--held-out", type=int, default=64, help="records to judge by")
    parser.add_argument("--rate", type=float, default=1e-2, help="learning rate")
    options = parser.parse_args()

    train, test = pieces(options.length, options.held_out)
    with tempfile.TemporaryDirectory() as folder:
        trainer = PrivateTrainer(
            model=writer(),
            args=TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=8,
                gradient_accumulation_steps=options.batch // 8,
                max_steps=options.steps,
                learning_rate=options.rate,
                lr_scheduler_type="constant",
                logging_steps=1,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
            ),
            train_dataset=train,
            eval_dataset=test,
            data_collator=default_data_collator,
            budget=fedpriv.Budget(epsilon=options.epsilon, delta=1e-5, data="hamlet"),
            max_grad_norm=0.2,
        )
        before = math.exp(trainer.evaluate()["eval_loss"])
        trainer.train()
        after = math.exp(trainer.evaluate()["eval_loss"])

    print(f"perplexity {before:.3f} before, {after:.3f} after {trainer.state.global_step} steps")
    logged = [line["epsilon"] for line in trainer.state.log_history if "epsilon" in line]
    print(f"epsilon {logged[-1]!r} of {options.epsilon:g}, delta {trainer.private.delta:g}")


if __name__ == "__main__":
    main()
