"""A real encoder learns a real corpus privately, by a loop of one's own and by Trainer."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import transformers as hf

import fedpriv
from fedpriv.ledger.home import open_ledger

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.slow


def spent(folder):
    """The ledger's word on the one data set in it."""
    with open_ledger(folder / "ledger.sqlite") as ledger:
        (budget,) = ledger.datasets()
        return ledger.spent(budget.dataset)


def test_the_example_of_a_loop_learns_within_its_budget(tmp_path):
    command = [sys.executable, "-W", "ignore", str(EXAMPLES / "private_loop.py"), "--steps", "10"]
    environment = os.environ | {"FEDPRIV_HOME": str(tmp_path)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    accuracy, majority = map(float, re.search(r"accuracy ([\d.]+), majority ([\d.]+)", done.stdout).groups())
    assert majority < 0.3
    assert accuracy > 0.75
    printed = float(re.search(r"epsilon ([\d.]+) of 8, delta 1e-05", done.stdout)[1])
    assert printed == spent(tmp_path).epsilon
    assert 7.9 < printed <= 8.0


def test_the_example_of_the_trainer_runs_on_a_real_language_model(tmp_path):
    script = [str(EXAMPLES / "private_trainer.py"), "--steps", "2", "--batch", "8", "--held-out", "4"]
    environment = os.environ | {"FEDPRIV_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    shutil.rmtree(tmp_path / "models")  # half a gigabyte that pytest would keep
    assert done.returncode == 0, done.stderr
    before, after = map(float, re.search(r"perplexity ([\d.]+) before, ([\d.]+) after", done.stdout).groups())
    assert 20 < before < 1000  # of 49,152 for random guesses
    assert 20 < after < 1000
    assert float(re.search(r"epsilon ([\d.]+) of 8", done.stdout)[1]) == spent(tmp_path).epsilon


def test_trainer_learns_within_its_budget(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPRIV_HOME", str(tmp_path / "home"))
    monkeypatch.syspath_prepend(str(EXAMPLES))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fedpriv.hf import PrivateTrainer

        example, models = importlib.import_module("private_loop"), importlib.import_module("models")
        train, test, classes = example.articles(40)
        tokenizer = hf.AutoTokenizer.from_pretrained(models.minilm())
        trainer = PrivateTrainer(
            model=example.classifier(classes),
            args=hf.TrainingArguments(
                output_dir=str(tmp_path / "out"),
                per_device_train_batch_size=32,
                gradient_accumulation_steps=4,
                max_steps=10,
                learning_rate=5e-3,
                lr_scheduler_type="constant",
                logging_steps=5,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                use_cpu=True,
            ),
            train_dataset=train,
            eval_dataset=test,
            data_collator=hf.DataCollatorWithPadding(tokenizer),
            compute_metrics=lambda found: {
                "accuracy": float((found.predictions.argmax(1) == found.label_ids).mean())
            },
            budget=fedpriv.Budget(8, 1e-5, data="bbc news"),
        )
        trainer.train()
        assert trainer.evaluate()["eval_accuracy"] > 0.75
    logged = [line["epsilon"] for line in trainer.state.log_history if "epsilon" in line]
    assert logged[-1] == spent(tmp_path / "home").epsilon <= 8.0
