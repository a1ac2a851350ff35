"""Whole runs of a language model, by the command line: what is measured and reported, and what is refused."""

from __future__ import annotations

import json
import math
from contextlib import closing
from functools import partial
from pathlib import Path

import peft as library
import pytest
import transformers
from click.testing import CliRunner, Result
from parties.loopback import Loopback
from parties.small_language import LENGTH, ROLES, language_config, tiny_decoder

from fedpriv.cli import main
from fedpriv.deployment.bundle import Bundle
from fedpriv.deployment.files import write_deployment
from fedpriv.deployment.node_records import NodeRecords
from fedpriv.deployment.parties import held_out
from fedpriv.deployment.policy import load_run_policy
from fedpriv.deployment.serve import serve
from fedpriv.entropy import Entropy
from fedpriv.errors import ConfigError, DataError
from fedpriv.federation.auditing import audit as auditing
from fedpriv.federation.config import load
from fedpriv.federation.run import run
from fedpriv.federation.workplace import load_data, prepare
from fedpriv.ledger.home import open_ledger
from fedpriv.peft import read
from fedpriv.training import CausalLanguageModel

EXAMPLES = Path(__file__).parents[2] / "examples"


def command(folder: Path, *arguments: str, **changes: object) -> Result:
    """``fedpriv`` on the small federation's configuration, written beside its data."""
    config = language_config(folder, **changes)
    (folder / "fedpriv.toml").write_text(config.to_toml())
    name, *rest = arguments
    return CliRunner().invoke(main, [name, str(folder / "fedpriv.toml"), *rest])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A masked run with a client that vanishes in each round, and what it said."""
    folder = tmp_path_factory.mktemp("language")
    changes = {"simulation__dropout": 1.0, "secagg__max_colluders": 0, "training__groups": "role"}
    return folder, command(folder, "run", "--run-dir", str(folder / "run"), **changes)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_a_run_ends_with_perplexity_and_an_adapter_that_peft_loads_to_the_same(
    finished: tuple[Path, Result],
) -> None:
    folder, done = finished
    assert done.exit_code == 0, done.output
    result = json.loads((folder / "run" / "result.json").read_text())
    assert result["majority"] is None
    assert result["rounds_done"] == 2
    said = " ".join(done.output.split())
    before, after = result["base_perplexity"], result["perplexity"]
    assert f"perplexity {after:.2f} on held-out texts; base model {before:.2f}" in said
    assert "writes ROUGE-L" in said
    for figures in (result["continuations"], result["base_continuations"]):
        assert figures["prompts"] == 3
        assert 0 <= figures["rouge_l"] <= 1
        assert 0 <= figures["distinct_2"] <= 1
    rounds = [json.loads(line) for line in (folder / "run" / "rounds.jsonl").read_text().splitlines()]
    assert rounds[-1]["perplexity"] == result["perplexity"] != result["base_perplexity"]
    assert {row["value"] for row in result["groups"]["rows"]} == set(ROLES)
    weighed = [(row["n"], row["perplexity"]) for row in result["groups"]["rows"]]
    least, most = min(p for _, p in weighed), max(p for _, p in weighed)
    assert least <= result["perplexity"] <= most

    adapter = folder / "run" / "adapter"
    assert (read(adapter).task, read(adapter).labels) == ("causal-lm", ())
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_decoder(folder))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_decoder(folder))
    tokenizer.pad_token = tokenizer.eos_token
    model = library.PeftModel.from_pretrained(base, adapter).eval()
    texts = load_data(language_config(folder)).test.texts
    task = CausalLanguageModel(model, tokenizer, LENGTH)
    assert task.evaluate(task.encode(texts)).perplexity == pytest.approx(result["perplexity"], rel=1e-5)


def test_the_report_tells_perplexity_and_what_was_looked_at_without_noise(
    finished: tuple[Path, Result],
) -> None:
    folder, done = finished
    assert done.exit_code == 0, done.output
    report = json.loads((folder / "run" / "report.json").read_text())
    language = report["utility"]["language"]
    assert language["perplexity"] < math.inf
    assert language["continuations"]["prompts"] == 3
    assert any("what the model writes" in one for one in report["accesses_not_accounted"])
    page = (folder / "run" / "report.html").read_text()
    assert f"{language['perplexity']:.2f}; the base model, before training" in page
    assert "Perplexity on held-out texts is" in page
    assert "Majority guess" not in page
    verified = CliRunner().invoke(main, ["verify", str(folder / "run")])
    assert verified.exit_code == 0, verified.output


def test_a_forged_figure_of_the_language_model_is_no_report(finished: tuple[Path, Result]) -> None:
    folder, _ = finished
    path = folder / "run" / "result.json"
    original = path.read_text()
    try:
        for forged in ({"perplexity": 0.5}, {"perplexity": "low"}, {"continuations": {"prompts": 0}}):
            path.write_text(json.dumps(json.loads(original) | forged))
            assert CliRunner().invoke(main, ["verify", str(folder / "run")]).exit_code != 0
    finally:
        path.write_text(original)


def test_the_example_s_configuration_is_one() -> None:
    config = load(EXAMPLES / "language" / "fedpriv.toml")
    assert (config.task, config.training.generate) == ("causal-lm", 8)


def test_a_plan_says_what_the_vocabulary_costs_in_memory_where_logits_are_held(tmp_path: Path) -> None:
    said = "for the logits of a micro-batch, in proportion to training.micro_batch"
    planned = command(tmp_path, "plan")
    assert planned.exit_code == 0, planned.output
    assert said not in planned.output
    # The same weights with a scale at their end, so that the head cannot be left out.
    path = tmp_path / "llama" / "config.json"
    scaled = {
        "model_type": "granite",
        "architectures": ["GraniteForCausalLM"],
        "logits_scaling": 4.0,
        "attention_multiplier": 8**-0.5,
    }
    path.write_text(json.dumps(json.loads(path.read_text()) | scaled))
    planned = command(tmp_path, "plan")
    assert planned.exit_code == 0, planned.output
    assert said in planned.output


def test_an_audit_with_canaries_tries_a_language_model_s_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An audit is wrong about a sound build once in twenty times at most; these draws are of the others.
    monkeypatch.setattr(auditing, "Entropy", partial(Entropy, 7))
    done = command(tmp_path, "audit", "--canaries", "60", "--rounds", "1", "--out", str(tmp_path))
    assert done.exit_code == 0, done.output
    facts = json.loads((tmp_path / "audit.json").read_text())
    assert facts["canaries"] == 60


def test_a_deployment_of_a_language_model_has_records_without_labels(tmp_path: Path) -> None:
    done = command(tmp_path, "deploy", str(tmp_path / "deployed"))
    assert done.exit_code == 0, done.output
    (agreement,) = (tmp_path / "deployed").glob("app/*/agreement.json")
    assert json.loads(agreement.read_text())["labels"] == []
    first = (tmp_path / "deployed" / "nodes" / "1" / "records.jsonl").read_text().splitlines()[0]
    assert set(json.loads(first)) == {"text"}


def test_a_node_does_not_tell_the_server_how_many_of_its_texts_are_too_short(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_deployment(language_config(tmp_path), tmp_path / "deployed")
    node = tmp_path / "deployed" / "nodes" / "1"
    (node / "records.jsonl").write_text('{"text": "w1 w2 w3"}\n{"text": "w1"}\n')
    policy = load_run_policy(node / "policy.toml")
    bundle = Bundle.read(tmp_path / "deployed" / "app" / "fedpriv_run")
    with closing(open_ledger(tmp_path / "node.sqlite")) as ledger:
        records = NodeRecords.read(policy, bundle, ledger)
    with pytest.raises(DataError) as error:
        records.workplace(policy, bundle, 1)
    assert str(error.value) == "The node's records cannot be used."
    assert "1 of 2 texts" in caplog.text


def test_held_out_texts_of_a_run_with_others_records_need_no_labels(tmp_path: Path) -> None:
    (tmp_path / "held_out.jsonl").write_text(json.dumps({"text": "w1 w2 w3"}) + "\n")
    config = language_config(tmp_path, data={"source": "nowhere", "test": {"source": "held_out.jsonl"}})
    assert held_out(config).test.texts == ["w1 w2 w3"]


def test_whole_updates_of_roles_are_summed_too(tmp_path: Path) -> None:
    result = run(
        language_config(
            tmp_path,
            unit="client",
            run__rounds=1,
            privacy={"epsilon": 8.0, "delta": 1e-2, "noise_multiplier": 2.0},
            local={"epochs": 1, "batch": 8},
            training={},
        ),
        tmp_path / "run",
    )
    assert result.perplexity != result.base_perplexity
    assert result.continuations is None


@pytest.mark.slow
def test_a_deployed_run_of_a_language_model_ends_where_one_in_this_process_does(tmp_path: Path) -> None:
    values = {"privacy__insecure_seed": 5, "run__rounds": 1}
    here = run(language_config(tmp_path, **values), tmp_path / "here")
    write_deployment(language_config(tmp_path, **values), tmp_path / "deployed")
    bundle = tmp_path / "deployed" / "app" / "fedpriv_run"
    there = serve(bundle, tmp_path / "deployed" / "server", Loopback(tmp_path / "deployed"))
    assert (there.perplexity, there.continuations) == (here.perplexity, here.continuations)
    weights = "adapter_model.safetensors"
    assert (there.adapter / weights).read_bytes() == (here.adapter / weights).read_bytes()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"model__pooling": "mean"}, "model.pooling"),
        ({"data__label": "role"}, "data.label"),
        ({"partition": {"method": "dirichlet", "clients": 4}}, "partition.method"),
        ({"partition": {"method": "shards", "clients": 4}}, "partition.method"),
        ({"model__max_length": 40}, "model.max_length"),
        ({"task": "text-classification"}, "training.generate"),
        ({"peft": {"method": "deep-prompt"}}, "peft.method"),
    ],
)
def test_keys_that_do_not_go_with_a_language_model_are_named(
    tmp_path: Path, changes: dict[str, object], key: str
) -> None:
    with pytest.raises(ConfigError) as error:
        language_config(tmp_path, **changes)
    assert error.value.key == key
    assert error.value.hint


def test_texts_too_short_to_learn_from_or_to_go_on_with_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    rows = [{"text": f"w{n} w{n + 1} w{n % 7}", "role": ROLES[n % 4]} for n in range(39)]
    (tmp_path / "roles.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = {"privacy__expected_batch": 8.0, "privacy__delta": 1e-3}
    with pytest.raises(DataError, match="no held-out text has 48 tokens"):
        prepare(language_config(tmp_path, **changes))
    rows[0]["text"] = "w1"
    (tmp_path / "roles.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = command(tmp_path, "run", "--run-dir", str(tmp_path / "run"), **changes)
    assert done.exit_code == 2
    assert "fewer than two tokens" in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "run").exists()
