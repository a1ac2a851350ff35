"""A configuration file: what it means, and what is said about a wrong one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fedpriv.errors import ConfigError
from fedpriv.federation.config import Config, load
from fedpriv.federation.config.ckks_rules import committee

MINIMAL = """
[run]
rounds = 3

[model]
id = "some/model"

[data]
source = "reviews.csv"

[partition]
clients = 8

[privacy]
epsilon = 3
delta = 1e-5
expected_batch = 64
"""

COMMITTEE = ("aggregator=ckks", "ckks.mode=threshold")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "fedpriv.toml"
    path.write_text(MINIMAL)
    return path


def refusal(file: Path, *overrides: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(file, overrides)
    assert str(caught.value)
    assert "\n" not in str(caught.value) + caught.value.hint
    return caught.value


def test_a_minimal_file_has_documented_defaults(file: Path) -> None:
    config = load(file)
    assert (config.unit, config.trust, config.aggregator) == ("record", "distributed", "masked")
    assert config.privacy.epsilon == 3.0
    assert isinstance(config.privacy.epsilon, float)
    assert config.data.test.fraction == 0.2
    assert config.secagg.bits is None
    assert config.partition.method == "iid"
    assert config.budget.epsilon is None


def test_overrides_are_toml_and_a_bare_word_is_text(file: Path) -> None:
    config = load(
        file,
        [
            "trust=local",
            "run.rounds = 7",
            "privacy.delta=1e-6",
            'data.labels=["no", "yes"]',
            "data.test.by=film",
            "data.test.fraction=0.3",
            "data.text=2024-01-01",
            "budget.epsilon=8",
        ],
    )
    assert config.trust == "local"
    assert config.run.rounds == 7
    assert config.privacy.delta == 1e-6
    assert config.data.labels == ("no", "yes")
    assert config.data.test.by == "film"
    assert config.data.text == "2024-01-01"
    assert config.budget.epsilon == 8.0


def test_an_override_cannot_smuggle_in_a_second_key(file: Path) -> None:
    assert load(file, ["data.text=a\nlabel = 'b'"]).data.label == "label"


def test_relative_paths_start_from_the_file(file: Path) -> None:
    assert load(file).resolve("ledger.sqlite") == file.parent / "ledger.sqlite"
    assert load(file).resolve("/elsewhere/x") == Path("/elsewhere/x")


def test_to_toml_reads_back_as_the_same_configuration(file: Path) -> None:
    config = load(file, ['data.labels=["a \\"quoted\\" \\\\ one", "δ\\u007f"]', "peft.layers=[-1, 0]"])
    again = file.with_name("again.toml")
    again.write_text(config.to_toml(), encoding="utf-8")
    assert load(again) == config
    assert load(again).digest() == config.digest()


@pytest.mark.parametrize("epsilon", [20.0, 21.5, 1e6])
def test_a_large_epsilon_must_be_meant(file: Path, epsilon: float) -> None:
    error = refusal(file, f"privacy.epsilon={epsilon!r}")
    assert error.key == "privacy.epsilon"
    assert "privacy.allow_large_epsilon = true" in error.hint
    meant = load(file, [f"privacy.epsilon={epsilon!r}", "privacy.allow_large_epsilon=true"])
    assert meant.privacy.epsilon == epsilon
    assert load(file, ["privacy.epsilon=19.99"]).privacy.allow_large_epsilon is False


def test_nothing_is_claimed_of_people_unless_it_is_said(file: Path) -> None:
    config = load(file)
    assert (config.data.disjointness, config.privacy.person_records) == ("unknown", 1)
    said = load(file, ["data.disjointness=asserted", "privacy.person_records=5"])
    assert (said.data.disjointness, said.privacy.person_records) == ("asserted", 5)
    assert refusal(file, "data.disjointness=verified").key == "data.disjointness"
    for records in ("0", "1001", "true", "2.5"):
        assert refusal(file, f"privacy.person_records={records}").key == "privacy.person_records"


def test_from_dict_undoes_to_dict(file: Path) -> None:
    config = load(file)
    assert Config.from_dict(config.to_dict(), base=file.parent) == config


def test_the_digest_is_over_meaning_not_spelling(file: Path) -> None:
    config = load(file)
    assert load(file, ["privacy.epsilon=3.0", "secagg.max_colluders=1"]).digest() == config.digest()
    assert load(file, ["privacy.epsilon=3.0000000001"]).digest() != config.digest()
    assert load(file, ["run.seed=1"]).digest() != config.digest()
    assert len(bytes.fromhex(config.digest())) == 32


def test_a_configuration_cannot_be_changed(file: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(file).privacy.epsilon = 100.0


@pytest.mark.parametrize(
    ("override", "key", "nearest"),
    [
        ("privacy.epsilom=1", "privacy.epsilom", "privacy.epsilon"),
        ("epsilon=1", "epsilon", "privacy.epsilon"),
        ("training.micro-batch=8", "training.micro-batch", "training.micro_batch"),
        ("privacy.rounds=8", "privacy.rounds", "run.rounds"),
        ("data.test.fractoin=0.1", "data.test.fractoin", "data.test.fraction"),
        (
            "privacy.adaptive_clip.quantil=0.5",
            "privacy.adaptive_clip.quantil",
            "privacy.adaptive_clip.quantile",
        ),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(
    file: Path, override: str, key: str, nearest: str
) -> None:
    error = refusal(file, override)
    assert error.key == key
    assert str(error) == f"`{key}` is not a known key"
    assert error.hint == f"did you mean `{nearest}`?"


def test_an_unknown_key_like_no_other_lists_the_known_ones(file: Path) -> None:
    assert "known keys in [server]: optimizer, learning_rate" in refusal(file, "server.zzz=1").hint


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("privacy.clip=0", "`privacy.clip` is 0; allowed: a number above 0"),
        ("privacy.epsilon=-1", "`privacy.epsilon` is -1; allowed: a number above 0"),
        ("privacy.epsilon=inf", "`privacy.epsilon` is inf; allowed: a number above 0"),
        ("privacy.epsilon=nan", "`privacy.epsilon` is nan; allowed: a number above 0"),
        ("privacy.delta=1", "`privacy.delta` is 1; allowed: a number above 0 and below 1"),
        ("run.rounds=0", "`run.rounds` is 0; allowed: a whole number of at least 1"),
        ("run.rounds=2.5", "`run.rounds` is 2.5; allowed: a whole number of at least 1"),
        ("run.rounds=true", "`run.rounds` is true; allowed: a whole number of at least 1"),
        ("run.rounds='3'", "`run.rounds` is '3'; allowed: a whole number of at least 1"),
        ("trust=distributd", "`trust` is 'distributd'; allowed: 'local', 'distributed' or 'central'"),
        ("secagg.bits=64", "`secagg.bits` is 64; allowed: a whole number of at least 8 and of at most 62"),
        (
            "simulation.dropout=1.5",
            "`simulation.dropout` is 1.5; allowed: a number of at least 0 and of at most 1",
        ),
        ("data.labels=x", "`data.labels` is 'x'; allowed: a list with at least 2 in it"),
    ],
)
def test_a_value_out_of_range_is_named_with_what_is_allowed(file: Path, override: str, sentence: str) -> None:
    error = refusal(file, override)
    assert str(error) == sentence
    assert error.key == override.partition("=")[0]


def test_a_misspelt_choice_gets_the_nearest_one(file: Path) -> None:
    assert refusal(file, "trust=distributd").hint == "did you mean 'distributed'?"


@pytest.mark.parametrize("key", ["run.rounds", "model.id", "data.source", "privacy.epsilon", "privacy.delta"])
def test_a_missing_key_is_named(file: Path, key: str) -> None:
    leaf = key.rsplit(".", 1)[-1]
    file.write_text("\n".join(line for line in MINIMAL.splitlines() if not line.startswith(leaf)))
    error = refusal(file)
    assert str(error) == f"`{key}` is missing"
    assert error.hint.startswith("set it: ")


def test_a_missing_table_is_named(file: Path) -> None:
    file.write_text(MINIMAL.replace("[model]", "[peft]").replace('id = "some/model"', ""))
    assert str(refusal(file)) == "the table `[model]` is missing"


@pytest.mark.parametrize(
    ("overrides", "key", "words"),
    [
        (["ckks.mode=threshold"], "ckks.mode", "`aggregator` is 'masked'"),
        (["aggregator=plain", "ckks.server=malicious"], "ckks.server", "`aggregator` is 'plain'"),
        (["aggregator=ckks", "partition.clients=2"], "partition.clients", "fewer than the 3"),
        (["aggregator=ckks", "secagg.min_survivors=2"], "secagg.min_survivors", "allowed: 3 to 8"),
        (["aggregator=ckks", "secagg.max_colluders=7"], "secagg.max_colluders", "too many for 8 clients"),
        (["aggregator=ckks", "secagg.graph=sparse"], "secagg.graph", "has no masks"),
        (["aggregator=ckks", "ckks.holders=5"], "ckks.holders", "has a committee"),
        (["aggregator=ckks", "ckks.threshold=3"], "ckks.threshold", "has a committee"),
        (["aggregator=ckks", "ckks.statistical_bits=40"], "ckks.statistical_bits", "has a committee"),
        (["aggregator=ckks", "ckks.mode=shared-key", "trust=central"], "ckks.mode", "before the server adds"),
        ([*COMMITTEE, "ckks.holders=9"], "ckks.holders", "more than the 8 clients"),
        ([*COMMITTEE, "ckks.threshold=3"], "ckks.threshold", "allowed: 4 to 5 with 5 holders"),
        ([*COMMITTEE, "ckks.threshold=6"], "ckks.threshold", "allowed: 4 to 5 with 5 holders"),
        ([*COMMITTEE, "ckks.threshold=2", "secagg.max_colluders=2"], "ckks.threshold", "allowed: 4 to 5"),
        ([*COMMITTEE, "secagg.max_colluders=5"], "secagg.max_colluders", "among 5 holders"),
        (["privacy.records=1000", "privacy.delta=0.001"], "privacy.delta", "too large for 1000 records"),
        (["privacy.records=50"], "privacy.expected_batch", "more than `privacy.records`"),
        (["partition.clients=2"], "partition.clients", "fewer than the 3"),
        (["secagg.min_survivors=9"], "secagg.min_survivors", "allowed: 5 to 8"),
        (["secagg.min_survivors=4"], "secagg.min_survivors", "allowed: 5 to 8"),
        (["secagg.max_colluders=8"], "secagg.max_colluders", "too many for 8 clients"),
        (["aggregator=plain", "secagg.min_survivors=1"], "secagg.min_survivors", "allowed: 2 to 8"),
        (["partition.method=groups"], "partition.column", "needs one"),
        (["partition.method=column"], "partition.column", "needs one"),
        (["partition.column=film"], "partition.column", "uses no column"),
        (["data.test.fraction=0.2", "data.test.source=t.csv"], "data.test", "has both"),
        (["data.test.by=film", "data.test.source=t.csv"], "data.test.by", "belongs to"),
        (["data.label=text"], "data.label", "are both 'text'"),
        (['data.labels=["a", "a"]'], "data.labels", "'a' twice"),
    ],
)
def test_keys_that_contradict_each_other(file: Path, overrides: list[str], key: str, words: str) -> None:
    error = refusal(file, *overrides)
    assert error.key == key
    assert words in str(error)
    assert error.hint


def test_an_encrypted_sum_is_opened_by_an_authority_unless_it_is_said_otherwise(file: Path) -> None:
    config = load(file, ["aggregator=ckks"])
    assert (config.ckks.mode, config.ckks.server, config.ckks.sums_per_key) == ("authority", "malicious", 16)
    assert [config.min_survivors(n) for n in (3, 4, 8)] == [3, 3, 5]
    assert load(file, ["aggregator=ckks", "secagg.min_survivors=3"]).min_survivors(8) == 3


@pytest.mark.parametrize(
    ("overrides", "committee_"),
    [
        ([], (5, 4)),
        (["ckks.server=semi-honest"], (5, 2)),
        (["ckks.holders=3"], (3, 3)),
        (["ckks.holders=8", "ckks.threshold=7"], (8, 7)),
        (["secagg.max_colluders=3"], (5, 5)),
    ],
)
def test_the_threshold_is_the_least_safe_one(
    file: Path, overrides: list[str], committee_: tuple[int, int]
) -> None:
    config = load(file, [*COMMITTEE, *overrides])
    assert committee(config.ckks, config.secagg, 8) == committee_


def test_what_is_written_says_nothing_of_encryption_where_there_is_none(file: Path, tmp_path: Path) -> None:
    assert "ckks" not in load(file).to_dict()
    for overrides in (["aggregator=ckks"], [*COMMITTEE, "ckks.holders=4"]):
        config = load(file, overrides)
        again = tmp_path / "again.toml"
        again.write_text(config.to_toml())
        assert load(again) == config


def test_the_suggested_delta_is_accepted(file: Path) -> None:
    for records in (64, 99, 100, 101, 99_999, 100_000):
        error = refusal(file, f"privacy.records={records}", f"privacy.delta={1 / records!r}")
        suggested = error.hint.split()[1]
        assert (
            load(file, [f"privacy.records={records}", f"privacy.delta={suggested}"]).privacy.delta
            < 1 / records
        )


def test_clients_may_be_left_to_the_column(file: Path) -> None:
    file.write_text(MINIMAL.replace("clients = 8", 'method = "column"\ncolumn = "hospital"'))
    config = load(file)
    assert config.partition.clients is None
    with pytest.raises(ConfigError, match="fewer than the 3 that the masked sum needs"):
        config.min_survivors(2)


def test_the_least_number_of_survivors_is_a_majority_beside_the_colluders(file: Path) -> None:
    assert [load(file).min_survivors(n) for n in (3, 4, 8, 9)] == [3, 3, 5, 6]
    alone = load(file, ["secagg.max_colluders=0"])
    assert [alone.min_survivors(n) for n in (3, 4, 8, 9)] == [2, 3, 5, 5]


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    error = refusal(tmp_path / "absent.toml")
    assert "there is no configuration file" in str(error)
    assert "fedpriv init" in error.hint


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "is a folder" in str(refusal(tmp_path))


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\xff\xfe", b"[run\nrounds = 3", b"a = 1\na = 2"])
def test_a_file_that_is_no_toml(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "picture.toml"
    path.write_bytes(content)
    assert "not valid TOML" in str(refusal(path)) or "not a text file" in str(refusal(path))


def test_broken_toml_names_the_line(file: Path) -> None:
    file.write_text(MINIMAL.replace('id = "some/model"', "id = some/model"))
    assert "line 6" in str(refusal(file))


@pytest.mark.parametrize("setting", ["a.b", "=3", ".x=1", "run.=1"])
def test_a_setting_that_is_none(file: Path, setting: str) -> None:
    assert "is not a setting" in str(refusal(file, setting))


@pytest.mark.parametrize("setting", ["trust.x=1", "run.rounds.y=1", "run=3", "data.test=3"])
def test_a_key_is_no_table_and_a_table_no_key(file: Path, setting: str) -> None:
    refusal(file, setting)


def test_loading_needs_neither_torch_nor_pandas(file: Path) -> None:
    program = (
        "import sys, pathlib; from fedpriv.federation.config import load; "
        f"load(pathlib.Path({str(file)!r})); "
        "print([m for m in ('torch', 'pandas', 'transformers', 'dp_accounting') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_key_is_described() -> None:
    def walk(model: Any) -> None:
        for name, field in model.model_fields.items():
            inner = field.annotation
            if hasattr(inner, "model_fields"):
                assert inner.__doc__, name
                walk(inner)
            else:
                assert field.description, f"{model.__name__}.{name}"

    walk(Config)


def test_the_quickstart_is_valid() -> None:
    here = Path(__file__).resolve().parents[3]
    config = load(here / "examples" / "quickstart" / "fedpriv.toml")
    assert (config.unit, config.trust, config.aggregator) == ("record", "distributed", "masked")
    assert (config.privacy.epsilon, config.privacy.delta, config.partition.clients) == (3.0, 1e-5, 8)
