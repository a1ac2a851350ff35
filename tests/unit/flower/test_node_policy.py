"""A policy says exactly what it must, or nothing is taken from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedpriv.errors import UsageError
from fedpriv.flower import load_policy

POLICY = """\
session = "policy test"
identity = "keys/identity.pem"
roster = "/shared/roster.toml"
state = "session.state"
min_survivors = 3
max_colluders = 1
max_epsilon = 3
delta = 1e-5
"""


def test_paths_count_from_the_policy_s_own_folder(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(POLICY)
    policy = load_policy(tmp_path / "policy.toml")
    assert policy.identity == tmp_path / "keys" / "identity.pem"
    assert policy.roster == Path("/shared/roster.toml")
    assert (policy.floors.survivors, policy.floors.colluders, policy.max_epsilon) == (3, 1, 3.0)
    assert policy.insecure_seed is None


def test_noise_from_a_seed_is_called_insecure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "policy.toml").write_text(POLICY + "insecure_seed = 1\n")
    assert load_policy(tmp_path / "policy.toml").entropy.insecure_seed == 1
    assert "INSECURE" in caplog.text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("delta = 1e-5\n", "", "no field 'delta'"),
        ("min_survivors = 3", "min_survivers = 3", "no field 'min_survivors'"),
        ("delta = 1e-5", "delta = 1e-5\nmin_survivers = 2", "unknown field 'min_survivers'"),
        ("delta = 1e-5", "delta = 0.0", "delta lie between"),
        ("max_epsilon = 3", "max_epsilon = nan", "max_epsilon must be positive"),
        ("max_epsilon = 3", 'max_epsilon = "3"', "max_epsilon must be a number"),
        ("min_survivors = 3", "min_survivors = true", "min_survivors must be a whole number, not True"),
        ('state = "session.state"', "state = 1", "state must be text, not 1"),
        ("max_colluders = 1", "max_colluders = ", "not valid TOML"),
    ],
)
def test_a_policy_that_says_something_else_is_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    (tmp_path / "policy.toml").write_text(POLICY.replace(old, new))
    with pytest.raises(UsageError, match=message):
        load_policy(tmp_path / "policy.toml")
