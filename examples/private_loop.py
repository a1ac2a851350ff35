"""A plain PyTorch loop made private: MiniLM with LoRA learns the sections of BBC news.

    python examples/private_loop.py
    python examples/private_loop.py --steps 30 --epsilon 3

The budget of the articles stands in the ledger in $FEDPRIV_HOME; a second run on them is refused.
"""

import argparse
import random

import corpora
import models
import peft
import torch
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, DataCollatorWithPadding

import fedpriv
from fedpriv.training import load_classifier


def articles(length: int) -> tuple[list[dict[str, object]], list[dict[str, object]], int]:
    """Tokenised articles to train on and, a fifth of them, to judge by; and the number of sections."""
    texts, sections = corpora.bbc()
    names = sorted(set(sections))
    encoded = AutoTokenizer.from_pretrained(models.minilm())(texts, truncation=True, max_length=length)
    records = [
        {"input_ids": ids, "labels": names.index(section)}
        for ids, section in zip(encoded["input_ids"], sections, strict=True)
    ]
    random.Random(0).shuffle(records)
    held = len(records) // 5
    return records[held:], records[:held], len(names)


def classifier(classes: int) -> torch.nn.Module:
    """MiniLM with LoRA on the queries and values of its last block, and a head on the mean of its states."""
    names = [str(label) for label in range(classes)]
    base, _ = load_classifier(str(models.minilm()), label_names=names, max_length=128, pooling="mean")
    adapter = peft.LoraConfig(
        target_modules=["query", "value"], layers_to_transform=[5], r=8, modules_to_save=["classifier"]
    )
    return peft.get_peft_model(base, adapter)


def accuracy(model: torch.nn.Module, loader: DataLoader) -> float:
    """Share of the records that the model gets right."""
    model.eval()
    right = 0
    with torch.no_grad():
        for batch in loader:
            found = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            right += int((found.argmax(1) == batch["labels"]).sum())
    model.train()
    return right / len(loader.dataset)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--epsilon", type=float, default=8.0)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--batch", type=int, default=128, help="expected records in a step")
    parser.add_argument("--length", type=int, default=40, help="tokens of an article that are read")
    options = parser.parse_args()

    train, test, classes = articles(options.length)
    collate = DataCollatorWithPadding(AutoTokenizer.from_pretrained(models.minilm()))
    loader = DataLoader(train, batch_size=options.batch, collate_fn=collate)
    judge = DataLoader(test, batch_size=64, collate_fn=collate)
    model = classifier(classes).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=5e-3)

    private = fedpriv.make_private(
        model,
        optimizer,
        loader,
        budget=fedpriv.Budget(epsilon=options.epsilon, delta=1e-5, data="bbc news"),
        max_grad_norm=1.0,
        steps=options.steps,
    )
    print(private)
    for batch in private:
        private.step(batch)

    most = max(sum(record["labels"] == label for record in test) for label in range(classes)) / len(test)
    print(f"accuracy {accuracy(model, judge):.3f}, majority {most:.3f}")
    print(f"epsilon {private.epsilon!r} of {options.epsilon:g}, delta {private.delta:g}")


if __name__ == "__main__":
    main()
