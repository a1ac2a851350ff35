"""A small federation of images: squares and crosses, drawn in three forms, and tiny models that read them."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from PIL import Image

from fedpriv.federation.config import Config

SIDE, RECORDS = 12, 160
NAMES = ("cross", "square")
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def drawn(count: int = RECORDS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Grey images, uint8, shape (count, SIDE, SIDE), all different, and their classes."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = draw.integers(0, 60, (count, SIDE, SIDE)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        low, high = draw.integers(1, 4), draw.integers(8, 11)
        if label:
            image[low : high + 1, low : high + 1] = 220
        else:
            image[(low + high) // 2, low:high] = image[low:high, (low + high) // 2] = 220
    return images, labels


def write_idx(folder: Path, prefix: str = "train", *, zipped: bool = True, count: int = RECORDS) -> None:
    """A pair of IDX files."""
    folder.mkdir(exist_ok=True)
    images, labels = drawn(count, seed=len(prefix))
    for name, array in (("images-idx3", images), ("labels-idx1", labels.astype(np.uint8))):
        content = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
        content += array.tobytes()
        path = folder / f"{prefix}-{name}-ubyte{'.gz' if zipped else ''}"
        path.write_bytes(gzip.compress(content) if zipped else content)


def write_folders(folder: Path, count: int = 12) -> None:
    """A folder of PNG files for each label."""
    for number, (image, label) in enumerate(zip(*drawn(count), strict=True)):
        place = folder / NAMES[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number:03}.png")


def tiny_vision(folder: Path, family: str = "vit", *, side: int = SIDE, seed: int = 0) -> Path:
    """The folder of a model of 16 wide with random weights, made for images of ``side`` pixels."""
    place = folder / family
    if not place.exists():
        config = {"vit": hf.ViTConfig, "dinov2": hf.Dinov2Config}[family](
            **SIZES, image_size=side, patch_size=4, initializer_range=0.2
        )
        config.intermediate_size = 24
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            hf.AutoModel.from_config(config).save_pretrained(place)
    return place


def image_config(folder: Path, **changes: Any) -> Config:
    """A configuration whose run takes seconds; ``changes`` are dotted keys with ``__`` for the dot."""
    if not (folder / "images").exists():
        write_idx(folder / "images")
    tiny_vision(folder)
    values: dict[str, Any] = {
        "task": "image-classification",
        "run": {"name": "images", "rounds": 2},
        "model": {"id": "vit", "pooling": "mean"},
        "peft": {"method": "head"},
        "data": {"source": "images", "test": {"fraction": 0.2}},
        "partition": {"method": "iid", "clients": 5},
        "privacy": {"epsilon": 8.0, "delta": 1e-4, "expected_batch": 24.0, "noise_multiplier": 3.0},
        "budget": {"ledger": "ledger.sqlite"},
    }
    for key, value in changes.items():
        *tables, last = key.split("__")
        place = values
        for table in tables:
            place = place.setdefault(table, {})
        place[last] = value
    return Config.from_dict(values, base=folder)
