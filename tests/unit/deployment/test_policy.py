"""A policy wins over what the server sends: what promises less is refused with the figure and the floor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from parties.deployed import AUTHORITY, SERVER, agreed, identity
from parties.small_run import small_config

from fedpriv.deployment.agreement import Agreement
from fedpriv.deployment.policy import RunPolicy, load_run_policy, way_of_summing
from fedpriv.errors import UnsafeParameters, UsageError
from fedpriv.federation.config import Config
from fedpriv.federation.planning.make import plan_of
from fedpriv.federation.planning.plan import Plan
from fedpriv.keystore import PublicIdentity, Roster

POLICY = f"""\
role = "client"
identity = "keys/identity.pem"
roster = "/shared/roster.toml"
server = "{identity(SERVER).public.hex()}"
data = "records.csv"
ledger = "ledger.sqlite"
state = "state"
models = ["{"bb" * 32}"]
min_survivors = 4
max_colluders = 1
max_epsilon = 8
delta = 1e-4
"""

Planned = tuple[Agreement, Plan]


@pytest.fixture
def policy(tmp_path: Path) -> RunPolicy:
    (tmp_path / "policy.toml").write_text(POLICY)
    return load_run_policy(tmp_path / "policy.toml")


@pytest.fixture(scope="module")
def planned(config: Config) -> Planned:
    """What the server sends: an agreement and the plan that follows from it."""
    agreement = agreed(config)
    return agreement, plan_of(config, agreement.subject(config))


def roster_of(clients: int) -> Roster:
    return Roster(tuple(PublicIdentity(f"node-{k}", identity(k).public) for k in range(1, clients + 1)))


def test_paths_count_from_the_policy_s_own_folder(policy: RunPolicy, tmp_path: Path) -> None:
    assert policy.identity == tmp_path / "keys" / "identity.pem"
    assert policy.roster == Path("/shared/roster.toml")
    assert policy.data == tmp_path / "records.csv"
    assert (policy.format, policy.aggregators, policy.trust) == (
        "auto",
        ("masked", "ckks"),
        ("local", "distributed"),
    )
    assert (policy.min_survivors, policy.max_colluders) == (4, 1)
    assert not policy.allow_insecure_seed


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("delta = 1e-4\n", "", "no field 'delta'"),
        ("min_survivors", "min_survivers", "no field 'min_survivors'"),
        ("delta = 1e-4", "delta = 1e-4\nmax_epsilom = 1", "unknown field 'max_epsilom'"),
        ("delta = 1e-4", "delta = 1", "delta lie between"),
        ("max_epsilon = 8", "max_epsilon = nan", "max_epsilon must be positive"),
        ("max_colluders = 1", "max_colluders = -1", "max_colluders 0 or more"),
        ("min_survivors = 4", "min_survivors = 4.0", "min_survivors must be a whole number"),
        ('role = "client"', 'role = "server"', "role is 'server'"),
        ('role = "client"', 'role = "authority"', "no field 'authority'"),
        ("delta = 1e-4", 'delta = 1e-4\naggregators = ["mask"]', "aggregators is 'mask'"),
        ("delta = 1e-4", "delta = 1e-4\ntrust = []", "trust must be a list"),
        ("delta = 1e-4", 'delta = 1e-4\nformat = "xml"', "format is 'xml'"),
        ("delta = 1e-4", "delta = 1e-4\nallow_insecure_seed = 1", "must be true or false"),
        ("bbbb", "BBBB", "models must be 64 hexadecimal digits"),
        (f'models = ["{"bb" * 32}"]', "models = []", "models must be a list"),
        ('data = "records.csv"', 'data = ""', "data is empty"),
    ],
)
def test_a_policy_that_says_something_else_is_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    (tmp_path / "policy.toml").write_text(POLICY.replace(old, new))
    with pytest.raises(UsageError, match=rf"policy\.toml: .*{message}"):
        load_run_policy(tmp_path / "policy.toml")


def test_a_key_authority_s_policy_names_no_records(tmp_path: Path) -> None:
    text = POLICY.replace('"client"', '"authority"') + f'authority = "{identity(AUTHORITY).public.hex()}"\n'
    (tmp_path / "policy.toml").write_text(text)
    with pytest.raises(UsageError, match="unknown field 'data'"):
        load_run_policy(tmp_path / "policy.toml")
    kept = [line for line in text.splitlines() if not line.startswith(("data", "ledger", "models"))]
    (tmp_path / "policy.toml").write_text("\n".join(kept))
    assert load_run_policy(tmp_path / "policy.toml").data is None


def test_what_the_owner_agreed_to_is_taken(policy: RunPolicy, planned: Planned) -> None:
    agreement, plan = planned
    policy.check_agreement(agreement, roster_of(5), plan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"roster": {k: identity(k + 1).public for k in range(1, 6)}}, "another roster than"),
        ({"server": identity(9).public}, "as key of the server's ledger"),
        ({"authority": identity(AUTHORITY).public}, "as key of the key authority; this node's policy, none"),
        ({"model": "cc" * 32}, "base model cccccccccccccccc…"),
    ],
)
def test_an_agreement_with_others_is_refused(
    policy: RunPolicy, planned: Planned, change: dict[str, Any], message: str
) -> None:
    agreement, plan = planned
    with pytest.raises(UsageError, match=message):
        policy.check_agreement(replace(agreement, **change), roster_of(5), plan)


def test_an_agreement_without_the_authority_that_the_owner_knows_is_refused(
    policy: RunPolicy, planned: Planned
) -> None:
    agreement, plan = planned
    knows = replace(policy, authority=identity(AUTHORITY).public)
    with pytest.raises(UsageError, match="The app names none as key of the key authority"):
        knows.check_agreement(agreement, roster_of(5), plan)


def test_members_in_another_order_are_another_roster(policy: RunPolicy, planned: Planned) -> None:
    agreement, plan = planned
    with pytest.raises(UsageError, match="another roster"):
        policy.check_agreement(agreement, Roster(roster_of(5).members[::-1]), plan)


@pytest.mark.parametrize(
    ("stricter", "message"),
    [
        (lambda own: replace(own, min_survivors=5), "fewest survivors is 4; this node takes part from 5"),
        (lambda own: replace(own, max_colluders=2), "colluders to withstand is 1; .* from 2 upwards"),
        (
            lambda own: replace(own, max_epsilon=0.1),
            r"epsilon = 0\.\d+ at delta = 0.0001; this node allows 0.1",
        ),
        (lambda own: replace(own, delta=1e-9, max_epsilon=0.5), "at delta = 1e-09; this node allows 0.5"),
        (lambda own: replace(own, aggregators=("ckks",)), "aggregator is 'masked'; this node allows 'ckks'"),
        (lambda own: replace(own, trust=("local",)), "trust is 'distributed'; this node allows 'local'"),
        (lambda own: replace(own, units=("client",)), "unit is 'record'; this node allows 'client'"),
    ],
)
def test_a_plan_below_the_owner_s_floors_is_refused(
    policy: RunPolicy, planned: Planned, stricter: Callable[[RunPolicy], RunPolicy], message: str
) -> None:
    agreement, plan = planned
    with pytest.raises(UnsafeParameters, match=message):
        stricter(policy).check_agreement(agreement, roster_of(5), plan)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"privacy__insecure_seed": 1}, "insecure_seed and protects nothing"),
        ({"aggregator": "plain"}, "aggregator is 'plain'; this node allows 'masked' and 'ckks'"),
        ({"trust": "central"}, "trust is 'central'"),
        ({"aggregator": "ckks", "ckks": {"mode": "shared-key"}}, "aggregator is 'shared-key'"),
        ({"aggregator": "ckks", "ckks": {"server": "semi-honest"}}, "a server that follows the protocol"),
    ],
)
def test_what_hides_nothing_is_refused_unless_the_owner_says_so(
    policy: RunPolicy, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    config = small_config(tmp_path, privacy__noise_multiplier=3.0, **changes)
    agreement = agreed(config)
    plan = plan_of(config, agreement.subject(config))
    with pytest.raises(UnsafeParameters, match=message):
        replace(policy, authority=agreement.authority).check_agreement(agreement, roster_of(5), plan)
    willing = replace(
        policy,
        aggregators=(way_of_summing(plan),),
        trust=(plan.trust,),
        authority=agreement.authority,
        allow_semi_honest=True,
        allow_insecure_seed=True,
    )
    willing.check_agreement(agreement, roster_of(5), plan)


def test_answers_of_a_committee_that_tell_too_much_at_the_owner_s_delta_are_refused(
    policy: RunPolicy, tmp_path: Path
) -> None:
    config = small_config(
        tmp_path,
        privacy__noise_multiplier=3.0,
        aggregator="ckks",
        ckks={"mode": "threshold", "statistical_bits": 20},
    )
    agreement = agreed(config)
    plan = plan_of(config, agreement.subject(config))
    policy.check_agreement(agreement, roster_of(5), plan)
    with pytest.raises(UnsafeParameters, match="the key's holders would add"):
        replace(policy, delta=1e-5).check_agreement(agreement, roster_of(5), plan)
