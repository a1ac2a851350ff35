"""Language models: what a record's loss is, what perplexity is of, and what may not be learned from."""

from __future__ import annotations

import math

import numpy as np
import peft as library
import pytest
import torch
import transformers

from fedpriv.errors import DataError, UsageError
from fedpriv.peft import Manifest, PeftSpec, attach
from fedpriv.training import (
    CONTINUED,
    PROMPT,
    CausalLanguageModel,
    Continuations,
    RecordGradients,
    keep_prefixes,
    load_language_model,
    prompts_of,
)

VOCABULARY = 50
TEXTS = [
    "the quick brown fox jumps over the lazy dog and runs away into the woods",
    "a short one",
    "no",
    "who is there? nay, answer me: stand, and unfold yourself, and do it now",
]
METHODS = (
    "lora",
    "ffa-lora",
    "fed-sb",
    "adapter",
    "ia3",
    "prompt",
    "prefix",
    "p-tuning",
    "full",
)


class Letters:
    """A tokenizer of letters whose padding is a letter, too: what is padded shows in the mask alone."""

    pad_token_id = 2 + ord("e") % (VOCABULARY - 2)

    def __call__(self, texts, truncation, max_length):
        assert truncation
        return {"input_ids": [[2 + ord(c) % (VOCABULARY - 2) for c in text][:max_length] for text in texts]}

    def decode(self, tokens, skip_special_tokens):
        assert skip_special_tokens
        return " ".join(map(str, tokens))


def decoder(family: str = "llama", *, tied: bool = True):
    """A language model with random weights, larger than usual, so that records differ."""
    common = {"vocab_size": VOCABULARY, "tie_word_embeddings": tied, "bos_token_id": 0, "eos_token_id": 1}
    if family == "gpt2":
        config = transformers.GPT2Config(**common, n_embd=16, n_layer=3, n_head=2, n_positions=128)
    else:
        config = transformers.LlamaConfig(
            **common,
            hidden_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=1,
            intermediate_size=24,
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config)
        for name, parameter in model.named_parameters():
            if "norm" not in name and ".ln_" not in name:
                torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def trained(method: str, family: str = "llama", **options) -> CausalLanguageModel:
    """The task of a decoder whose trained parameters are away from their start."""
    model = attach(decoder(family), PeftSpec(method, **options))
    manifest = Manifest.of(model)
    noise = 0.1 * np.random.default_rng(0).standard_normal(manifest.size)
    manifest.restore(model, manifest.flatten(model) + noise.astype(np.float32))
    return CausalLanguageModel(model, Letters(), 64)


def by_hand(task: CausalLanguageModel, text: str) -> tuple[float, int, int]:
    """Total loss, right guesses and number of guesses of one text, token by token, without any padding."""
    ids = Letters()([text], truncation=True, max_length=64)["input_ids"][0]
    total, right = 0.0, 0
    for position in range(1, len(ids)):
        given = torch.tensor([ids[:position]])
        with torch.no_grad():
            last = task.model(input_ids=given, attention_mask=torch.ones_like(given)).logits[0, -1].double()
        total -= float(torch.log_softmax(last, 0)[ids[position]])
        right += int(last.argmax()) == ids[position]
    return total, right, len(ids) - 1


@pytest.mark.parametrize("method", METHODS)
def test_a_record_s_loss_is_the_mean_over_its_own_next_tokens_and_its_gradient_its_own(method):
    task = trained(method)
    records, everyone = task.encode(TEXTS), np.arange(len(TEXTS))
    losses = task.losses(records, everyone).detach().numpy()
    expected = [total / count for total, _, count in (by_hand(task, text) for text in TEXTS)]
    np.testing.assert_allclose(losses, expected, rtol=1e-4)

    manifest = Manifest.of(task.model)
    together = RecordGradients(task.model, task, manifest, clip=1e9, micro_batch=4)
    alone = RecordGradients(task.model, task, manifest, clip=1e9, micro_batch=1, engine="one-by-one")
    rows, singles = (np.concatenate(list(g.clipped(records, everyone))) for g in (together, alone))
    np.testing.assert_allclose(rows, singles, atol=1e-5 * np.abs(singles).max())


def test_perplexity_is_over_tokens_and_not_over_records():
    task = trained("lora", family="gpt2")
    found = task.evaluate(task.encode(TEXTS), batch=3)
    totals, right, counts = zip(*(by_hand(task, text) for text in TEXTS), strict=True)
    assert found.perplexity == pytest.approx(math.exp(sum(totals) / sum(counts)), rel=1e-5)
    assert found.accuracy == sum(right) / sum(counts)
    assert (found.n, found.recall) == (len(TEXTS), ())


@pytest.mark.parametrize("method", ["lora", "prompt", "prefix"])
def test_a_token_that_equals_the_padding_counts_like_any_other(method):
    # Comparing tokens with the padding in place of the mask would leave every "e" out.
    task = trained(method)
    records = task.encode(["eeeee", "a much longer text beside it, for padding"])
    assert task.judge(records).guesses.tolist() == [4, 40]
    alone = task.losses(task.encode(["eeeee"]), np.array([0]))
    torch.testing.assert_close(task.losses(records, np.array([0, 1]))[0], alone[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_greedy_text_is_the_likeliest_next_token_again_and_again(family, method):
    # generate() keeps keys and values, and puts trained positions in front; this runs the whole text anew.
    task = trained(method, family)
    records = task.encode(TEXTS)
    prompts = prompts_of(records, 8)
    assert prompts.tolist() == [0, 3]
    written = []
    original = task.tokenizer.decode
    task.tokenizer.decode = lambda tokens, **options: written.append(tokens) or original(tokens, **options)
    found = Continuations.of(task, records, prompts)
    assert found.prompts == 2
    assert 0 <= found.rouge_l <= 1
    for row, mine in zip(prompts, written[:2], strict=True):
        ids = records.tokens[records.offsets[row] :][:PROMPT].tolist()
        for token in mine:
            with torch.no_grad():
                given = torch.tensor([ids])
                logits = task.model(input_ids=given, attention_mask=torch.ones_like(given)).logits[0, -1]
            assert logits[token] >= logits.max() - 1e-4
            if token == 1:
                break  # the end of the text
            ids.append(token)
        assert len(mine) <= CONTINUED


def test_only_texts_that_have_a_continuation_are_prompts():
    task = trained("lora")
    with pytest.raises(DataError, match="no held-out text has 48 tokens"):
        prompts_of(task.encode(TEXTS[1:3]), 4)


def test_a_text_of_one_token_has_nothing_to_predict_and_is_named():
    task = trained("lora")
    with pytest.raises(DataError, match="1 of 2 texts have fewer than two tokens") as error:
        task.encode(["x", "a text"])
    assert "join them" in error.value.hint
    with pytest.raises(DataError, match="not a string"):
        task.encode([np.zeros((2, 2, 1), dtype=np.uint8)])


def test_hidden_states_below_the_first_trained_block_are_kept_and_change_nothing():
    task = trained("ffa-lora", layers=(-1,))
    records = task.encode(TEXTS)
    before = task.evaluate(records)
    keep_prefixes(task, (records,), budget=1 << 20)
    assert records in task.prefixes
    assert task.evaluate(records).loss == pytest.approx(before.loss, rel=1e-6)
    assert task.prefixes[records].visited.all()


@pytest.mark.parametrize("method", ["lora", "ffa-lora", "ia3", "fed-sb", "adapter"])
def test_the_map_to_the_vocabulary_is_left_as_it_is(method):
    options = {"target_modules": ("all-linear",)} if method in ("lora", "ffa-lora", "fed-sb") else {}
    model = attach(decoder(tied=False), PeftSpec(method, **options))
    assert not [name for name, p in model.named_parameters() if p.requires_grad and "lm_head" in name]


def test_the_head_of_a_language_model_is_trained_only_where_it_is_not_the_embeddings():
    with pytest.raises(UsageError, match="table of embeddings") as error:
        attach(decoder(tied=True), PeftSpec("head"))
    assert "lora" in error.value.hint
    manifest = Manifest.of(attach(decoder(tied=False), PeftSpec("head")))
    assert [entry.name for entry in manifest.entries] == ["lm_head.weight"]
    with pytest.raises(UsageError, match="no bias"):
        attach(decoder(), PeftSpec("bitfit"))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("method", ["lora", "ffa-lora", "ia3", "prompt", "prefix", "p-tuning"])
def test_the_adapter_loads_with_peft_alone_as_a_language_model(method, tmp_path):
    from fedpriv.peft import save

    task = trained(method)
    spec = PeftSpec(method)
    save(task.model, spec, Manifest.of(task.model), tmp_path / "a", base_model="m", labels=())
    fresh = library.PeftModel.from_pretrained(decoder(), tmp_path / "a").eval()
    assert isinstance(fresh, library.PeftModelForCausalLM)
    again = CausalLanguageModel(fresh, Letters(), 64)
    records = task.encode(TEXTS)
    assert again.evaluate(records).loss == pytest.approx(task.evaluate(records).loss, rel=1e-6)


def saved(model, folder):
    """A model with a tokenizer of words, as a folder that can be loaded."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {f"w{number}": number for number in range(VOCABULARY - 1)} | {"<end>": VOCABULARY - 1}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", model_max_length=64
    ).save_pretrained(folder)
    model.save_pretrained(folder)
    return str(folder)


def test_a_decoder_loads_from_its_folder_and_pads_with_its_end(tmp_path):
    model, tokenizer = load_language_model(saved(decoder(), tmp_path), max_length=32)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == VOCABULARY - 1
    found = CausalLanguageModel(model, tokenizer, 4).encode(["w1 w2 w3 w4 w5 w6", "w7 w8"])
    assert found.lengths.tolist() == [4, 2]
    assert not model.training
    with pytest.raises(UsageError, match="at most 64 tokens"):
        load_language_model(str(tmp_path), max_length=65)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        ("encoder", "is no language model"),  # its map to the vocabulary would be new
        ("masked", "attention looks ahead"),
        ("vit", "has no causal language model"),
    ],
)
def test_what_is_no_causal_language_model_is_refused(build, says, tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    if build == "vit":
        model = transformers.ViTModel(transformers.ViTConfig(image_size=8, patch_size=4, **sizes))
    else:
        config = transformers.BertConfig(vocab_size=VOCABULARY, is_decoder=False, **sizes)
        model = transformers.BertModel(config) if build == "encoder" else transformers.BertForMaskedLM(config)
        torch.nn.init.normal_(model.get_input_embeddings().weight, std=0.5)
    with pytest.raises(UsageError, match=says):
        load_language_model(saved(model, tmp_path), max_length=16)
