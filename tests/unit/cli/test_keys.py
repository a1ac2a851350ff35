"""``fedpriv keys``: identities made, shown and listed."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fedpriv.cli import main
from fedpriv.keystore import PublicIdentity, load_identity, load_public, load_roster

WORDS = "five random words here"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["keys", *arguments], catch_exceptions=False)


def made(*names: str) -> list[str]:
    for name in names:
        assert call("new", f"{name}.pem").exit_code == 0
    return [f"{name}.pem.pub" for name in names]


def secret(path: str, text: str) -> str:
    Path(path).write_text(text)
    Path(path).chmod(0o600)
    return path


def assert_refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    lines = result.stderr.strip().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["error", "hint"], result.stderr
    for word in words:
        assert word in result.stderr


def test_a_new_key_is_private_and_its_fingerprint_is_printed() -> None:
    result = call("new", "hospital-a.pem")
    assert result.exit_code == 0
    public = load_public(Path("hospital-a.pem.pub"))
    assert public == PublicIdentity("hospital-a", load_identity("hospital-a.pem").public)
    assert public.fingerprint in result.output
    assert stat.S_IMODE(Path("hospital-a.pem").stat().st_mode) == 0o600


def test_a_name_may_be_given() -> None:
    facts = json.loads(call("new", "id", "--name", "hospital-a", "--json").output)
    assert facts["name"] == "hospital-a"
    assert facts["public_file"] == "id.pub"
    assert facts["fingerprint"] == load_public(Path("id.pub")).fingerprint
    assert_refused(call("new", "other", "--name", "hospital a"), "'hospital a' cannot be the name")
    assert not Path("other").exists()


def test_a_key_is_never_overwritten() -> None:
    made("a")
    before = Path("a.pem").read_bytes()
    assert_refused(call("new", "a.pem"), "a.pem exists, and is never overwritten")
    assert Path("a.pem").read_bytes() == before


def test_a_passphrase_from_a_file() -> None:
    words = secret("words", f"{WORDS}\n")
    assert call("new", "a.pem", "--passphrase-file", words).exit_code == 0
    assert load_identity("a.pem", WORDS.encode()).public == load_public(Path("a.pem.pub")).key
    assert call("show", "a.pem", "--passphrase-file", words).exit_code == 0
    assert_refused(call("show", "a.pem"), "no passphrase was given", "--passphrase-file")
    other = secret("other", "another five random words")
    assert_refused(call("show", "a.pem", "--passphrase-file", other), "does not open")
    assert_refused(call("new", "b.pem", "--passphrase-file", secret("short", "hunter2")), "12 to 1023 bytes")
    assert_refused(call("new", "b.pem", "--passphrase-file", words, "--passphrase"), "exclude each other")
    Path(words).chmod(0o644)
    assert_refused(call("new", "b.pem", "--passphrase-file", words), "mode 0644", "chmod 600 words")
    assert not Path("b.pem").exists()


def test_no_passphrase_is_asked_for_without_a_terminal() -> None:
    assert_refused(call("new", "a.pem", "--passphrase"), "there is none", "--passphrase-file")
    assert not Path("a.pem").exists()


def on_a_terminal(*arguments: str, typed: list[str]) -> str:
    """What the command shows on a terminal of its own, where each text of ``typed`` answers one prompt."""
    program = (
        "import fcntl, os, sys, termios\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "from fedpriv.cli import main\n"
        "main(sys.argv[1:], prog_name='fedpriv')\n"
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program, "keys", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    for text in typed:
        while not shown.endswith(b": "):
            shown += os.read(ours, 1024)
        os.write(ours, text.encode() + b"\n")
        shown += b"|"
    try:
        while piece := os.read(ours, 1024):
            shown += piece
    except OSError:  # the terminal closed with its last process
        pass
    os.close(ours)
    assert process.wait(timeout=30) == 0, shown
    return shown.decode()


def test_a_passphrase_is_asked_for_twice_and_not_shown() -> None:
    shown = on_a_terminal("new", "a.pem", "--passphrase", typed=[WORDS, WORDS])
    assert WORDS not in shown
    assert load_identity("a.pem", WORDS.encode()).public == load_public(Path("a.pem.pub")).key


def test_what_is_shown_is_never_the_private_half() -> None:
    made("a", "b", "c")
    call("roster", "roster.toml", "a.pem.pub", "b.pem.pub", "c.pem.pub")
    key = load_identity("a.pem")
    body = Path("a.pem").read_text().splitlines()[1]
    for options in ([], ["--json"]):
        result = call("show", "a.pem", "b.pem.pub", "roster.toml", *options)
        assert result.exit_code == 0
        assert load_public(Path("a.pem.pub")).fingerprint in result.output
        assert load_roster("roster.toml").fingerprint in result.output
        for form in (key.seed.hex(), repr(key.seed), body, body[-43:]):
            assert form not in result.output
    private, public, roster = json.loads(result.output)["keys"]
    assert (private["kind"], private["name"]) == ("private", "a")
    assert (public["kind"], public["name"]) == ("public", "b")
    assert [(client["client"], client["name"]) for client in roster["clients"]] == [
        (1, "a"),
        (2, "b"),
        (3, "c"),
    ]


def test_a_private_key_alone_has_a_fingerprint_and_no_name() -> None:
    made("a")
    fingerprint = load_public(Path("a.pem.pub")).fingerprint
    Path("a.pem.pub").unlink()
    assert fingerprint in call("show", "a.pem").output
    assert json.loads(call("show", "a.pem", "--json").output)["keys"][0]["name"] is None


def test_a_replaced_public_half_is_noticed() -> None:
    made("a", "b")
    os.replace("b.pem.pub", "a.pem.pub")
    assert_refused(call("show", "a.pem"), "a.pem.pub is not the public half of a.pem")


def test_a_roster_is_written_and_must_be_compared() -> None:
    publics = made("a", "b", "c")
    result = call("roster", "roster.toml", *publics)
    assert result.exit_code == 0
    roster = load_roster("roster.toml")
    assert list(roster.names.values()) == ["a", "b", "c"]
    assert roster.fingerprint in result.output
    assert "outside of this network" in result.output
    facts = json.loads(call("roster", "again.toml", *publics, "--json").output)
    assert facts["fingerprint"] == roster.fingerprint
    assert_refused(call("roster", "roster.toml", *publics), "roster.toml exists, and is never overwritten")


def test_rosters_that_are_refused() -> None:
    publics = made("a", "b", "c")
    assert_refused(call("roster", "r", *publics[:2]), "each learns the other's part")
    assert_refused(call("roster", "r", *publics, publics[0]), "Clients 1 and 4 of the roster have one key")
    assert_refused(call("roster", "r", *publics[:2], "c.pem"), "c.pem is a private key", "c.pem.pub")
    assert_refused(call("roster", "r", *publics[:2], "d.pem.pub"), "There is no public key d.pem.pub")
    assert not Path("r").exists()
    assert call("roster", "r").exit_code == 2


def test_files_that_are_no_keys() -> None:
    Path("text").write_text("hello\n")
    Path("binary").write_bytes(bytes(range(256)))
    assert_refused(call("show", "text"), "text is not valid TOML, so no roster")
    assert_refused(call("show", "binary"), "binary is not a text file, so no roster")
    assert_refused(call("show", "nowhere"), "there is no file 'nowhere'")
    assert_refused(call("show", "."), "Is a directory")
