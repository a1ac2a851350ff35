"""What `fedpriv deploy` says, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from parties.config_text import CONFIG
from parties.deployed import identity

from fedpriv.cli import main
from fedpriv.keystore import PublicIdentity, load_roster, write_public, write_roster

QUICK = ("--set", "privacy.noise_multiplier=3", "--set", "peft.method=head", "--set", "model.max_length=8")
THEIRS = ("--set", "data.test.source=held_out.csv", "--set", 'data.labels=["good", "bad"]')


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDPRIV_HOME", str(tmp_path / "home"))
    rows = [f"text {k},{'good' if k % 2 else 'bad'}" for k in range(100)]
    Path("reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    Path("held_out.csv").write_text("text,label\na fine film,good\na dull film,bad\n")
    Path("fedpriv.toml").write_text(CONFIG + "\n[data.test]\nfraction = 0.2\n")
    Path("theirs.toml").write_text(CONFIG.replace("clients = 4", "clients = 3"))
    members = [PublicIdentity(f"site-{k}", identity(k).public) for k in (1, 2, 3)]
    write_roster("roster.toml", members)
    write_public(Path("holder.pub"), PublicIdentity("holder", identity(9).public))
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["deploy", *arguments])


def test_a_deployment_says_who_gets_what_and_the_next_command() -> None:
    result = call("fedpriv.toml", "out/net", *QUICK)
    assert result.exit_code == 0, result.output
    roster = load_roster(Path("out/net/roster.toml"))
    assert f"4 clients, fingerprint {roster.fingerprint}" in result.output
    assert "out/net/nodes/1 to 4, each for its client alone: policy, identity and records" in result.output
    assert "out/net/README.md" in result.output.splitlines()[-1]
    assert not Path("home").exists()


def test_json_is_one_object_with_what_programs_compare() -> None:
    write = ("theirs.toml", "out", *QUICK, *THEIRS, "--roster", "roster.toml", "--records", "80")
    result = call(*write, "--set", "aggregator=ckks", "--authority", "holder.pub", "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["nodes"] == ["1", "2", "3", "authority"]
    assert facts["authority_key"] == identity(9).public.hex()
    assert (facts["made"], facts["records"]) == (False, 80)
    assert facts["roster"] == load_roster(Path("roster.toml")).fingerprint


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing.toml", "out"), ["no configuration file 'missing.toml'"]),
        (("fedpriv.toml", "out", "--set", "data.source=reviwes.csv"), ["no data at 'reviwes.csv'"]),
        (("fedpriv.toml", "out", "--set", "partition.clients=2"), ["fewer than the 3"]),
        (("fedpriv.toml", "."), ["is not an empty folder"]),
        (("fedpriv.toml", "out", "--set", "model.id=nowhere/to/be"), ["nowhere/to/be"]),
        (("fedpriv.toml", "out", "--records", "80"), ["--records belongs to --roster"]),
        (("fedpriv.toml", "out", "--authority", "holder.pub"), ["--authority belongs to --roster"]),
        (("theirs.toml", "out", "--roster", "roster.toml"), ["--roster needs --records"]),
        (("theirs.toml", "out", "--roster", "rooster.toml", "--records", "80"), ["no roster rooster.toml"]),
        (("theirs.toml", "out", "--roster", "roster.toml", "--records", "80"), ["Set data.test.source"]),
        (
            ("fedpriv.toml", "out", *THEIRS, "--roster", "roster.toml", "--records", "80"),
            ["`data.test` needs either"],
        ),
        (
            (
                "theirs.toml",
                "out",
                *THEIRS,
                "--roster",
                "roster.toml",
                "--records",
                "80",
                "--authority",
                "holder.pub",
            ),
            ["no key authority", "Leave --authority out"],
        ),
        (("theirs.toml", "reviews.csv/out"), ["cannot be written"]),
    ],
)
def test_a_mistake_is_one_sentence_and_a_hint_and_nothing_is_written(
    folder: Path, arguments: tuple[str, ...], words: list[str]
) -> None:
    before = sorted(folder.iterdir())
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert [line.partition(":")[0] for line in result.stderr.strip().splitlines()] == ["error", "hint"]
    for word in words:
        assert word in result.stderr
    assert sorted(folder.iterdir()) == before
