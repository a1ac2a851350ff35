"""The server's settings say exactly what they must."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedpriv.deployment.server_settings import load_server_settings
from fedpriv.errors import UsageError

SETTINGS = """\
roster = "roster.toml"
test = "test.jsonl"
ledger = "/var/ledgers/ledger.sqlite"
run = "run"
"""


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    (tmp_path / "server.toml").write_text(SETTINGS + "timeout = 5\n")
    settings = load_server_settings(tmp_path / "server.toml")
    assert (settings.test, settings.ledger) == (tmp_path / "test.jsonl", Path("/var/ledgers/ledger.sqlite"))
    assert (settings.timeout, settings.training_timeout, settings.start_timeout) == (5.0, 3600.0, 120.0)
    assert settings.authority is None
    assert settings.model is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('run = "run"\n', "", "no field 'run'"),
        ('run = "run"', 'run = "run"\ntimeuot = 5', "unknown field 'timeuot'"),
        ('run = "run"', 'run = "run"\ntimeout = 0', "timeout must be a number of seconds above 0"),
        ('run = "run"', 'run = "run"\nstart_timeout = inf', "start_timeout must be a number of seconds"),
        ('run = "run"', 'run = "run"\ntraining_timeout = "5"', "training_timeout must be a number"),
        ('run = "run"', 'run = "run"\nauthority = "00"', "authority must be 64 hexadecimal digits"),
    ],
)
def test_settings_that_say_something_else_are_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    (tmp_path / "server.toml").write_text(SETTINGS.replace(old, new))
    with pytest.raises(UsageError, match=rf"server\.toml: .*{message}"):
        load_server_settings(tmp_path / "server.toml")
