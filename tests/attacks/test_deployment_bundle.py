"""Attacks on a deployed run by a server that ships another app than the one that the owners agreed to."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from parties.deployed import identity
from parties.small_run import small_config

from fedpriv.deployment.agreement import Agreement, dataset_of
from fedpriv.deployment.bundle import AGREEMENT, CONFIG, PLAN
from fedpriv.deployment.files import write_deployment
from fedpriv.deployment.party import Node
from fedpriv.encoding.scale import grid_sensitivity
from fedpriv.errors import FedprivError, IntegrityError, UnsafeParameters, UsageError
from fedpriv.federation.config import Config, load
from fedpriv.federation.planning import make
from fedpriv.federation.planning.costs import Costs
from fedpriv.federation.planning.grid import noise_on
from fedpriv.federation.planning.make import plan_of, read_plan
from fedpriv.federation.work.contribution import Contribution
from fedpriv.keystore import PublicIdentity, load_roster, new_identity, write_roster


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deployed")
    config = small_config(folder, run__rounds=2, partition__clients=3, privacy__noise_multiplier=3.0)
    write_deployment(config, folder / "deployed")
    return folder / "deployed"


@pytest.fixture
def folder(deployed: Path, tmp_path: Path) -> Path:
    """A copy that may be spoilt."""
    return Path(shutil.copytree(deployed, tmp_path / "deployed"))


def node(folder: Path) -> Node:
    return Node.at(folder / "nodes" / "1" / "policy.toml", bundle(folder))


def bundle(folder: Path) -> Path:
    return folder / "app" / "fedpriv_run"


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def ship(folder: Path, **changes: Any) -> None:
    """Replace the app by a consistent one of another configuration: its agreement and its plan fit."""
    config = load(bundle(folder) / CONFIG)
    values = config.to_dict()
    for key, value in changes.items():
        *tables, name = key.split("__")
        place = values
        for table in tables:
            place = place[table]
        place[name] = value
    other = Config.from_dict(values, base=config.base)
    agreement = replace(Agreement.read(bundle(folder) / AGREEMENT), config=other.digest())
    (bundle(folder) / CONFIG).write_text(other.to_toml())
    (bundle(folder) / AGREEMENT).write_bytes(agreement.to_bytes())
    plan = plan_of(other, agreement.subject(other))
    (bundle(folder) / PLAN).write_text(json.dumps(plan.to_dict()))


def policy(folder: Path, field: str, value: str) -> None:
    """The owner's own decision."""
    path = folder / "nodes" / "1" / "policy.toml"
    text, count = re.subn(rf"(?m)^{field} = .*$", f"{field} = {value}", path.read_text())
    assert count == 1
    path.write_text(text)


@pytest.fixture(scope="module")
def weak(deployed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A consistent app with next to no noise."""
    folder = Path(shutil.copytree(deployed, tmp_path_factory.mktemp("weak") / "deployed"))
    ship(folder, privacy__noise_multiplier=0.4, privacy__epsilon=500.0, privacy__allow_large_epsilon=True)
    return bundle(folder)


def test_what_was_deployed_is_accepted(folder: Path) -> None:
    assert node(folder).number == 1
    assert node(folder).number == 1  # from what was accepted before


@pytest.mark.slow
def test_an_app_with_less_noise_is_priced_by_the_node_and_not_by_its_plan(folder: Path, weak: Path) -> None:
    shutil.copytree(weak, bundle(folder), dirs_exist_ok=True)
    stated = json.loads((bundle(folder) / PLAN).read_text())
    assert stated["epsilon_pld"] > 8.0
    with pytest.raises(UnsafeParameters, match=r"cost epsilon = .* this node allows 8"):
        node(folder)
    edit(bundle(folder) / PLAN, lambda plan: plan.update(epsilon_pld=0.5))
    with pytest.raises((IntegrityError, UnsafeParameters)):
        node(folder)


def test_less_noise_is_written_into_the_plan_alone(folder: Path) -> None:
    edit(bundle(folder) / PLAN, lambda plan: plan.update(noise_multiplier=0.2))
    with pytest.raises((IntegrityError, UnsafeParameters)):
        node(folder)


@pytest.mark.parametrize("coarser", [1, 17, 22])
def test_a_coarser_grid_is_priced_by_the_node(folder: Path, coarser: int) -> None:
    """Noise of few integers is not Gaussian: the multiplier stays as it is, and what it is worth does not."""
    config, agreement = load(bundle(folder) / CONFIG), Agreement.read(bundle(folder) / AGREEMENT)
    subject = agreement.subject(config)
    stated = json.loads((bundle(folder) / PLAN).read_text())
    scale = stated["scale_log2"] - coarser
    grid = replace(
        read_plan(config, subject, stated).grid,
        scale_log2=scale,
        sensitivity=grid_sensitivity(config.privacy.clip, scale),
    )
    one = Contribution.of(config, records=subject.records, clients=subject.clients)
    noise = noise_on(grid, config, subject, one, stated["noise_multiplier"])
    plan = make._plan(
        config,
        subject,
        one,
        grid,
        noise,
        rotated=stated["rotated"],
        of=subject.parameters,
        costs=lambda *_: Costs.from_dict(stated),
    )
    (bundle(folder) / PLAN).write_text(json.dumps(plan.to_dict()))
    if coarser == 1:
        node(folder)  # next to free, and an honest server may plan it
    else:
        with pytest.raises(UnsafeParameters):
            node(folder)


@pytest.mark.parametrize("name", [CONFIG, AGREEMENT, PLAN])
def test_a_file_of_another_deployment_is_put_among_the_three(folder: Path, name: str, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    ship(other, run__rounds=1)
    shutil.copy(bundle(other) / name, bundle(folder) / name)
    with pytest.raises(IntegrityError):
        node(folder)


def test_one_key_of_the_roster_is_replaced(folder: Path) -> None:
    def replaced(agreement: dict[str, Any]) -> None:
        agreement["roster"]["2"] = identity(9).public.hex()

    edit(bundle(folder) / AGREEMENT, replaced)
    with pytest.raises(IntegrityError, match="the data set differs"):
        node(folder)


def test_one_key_of_the_roster_is_replaced_and_all_else_fitted(folder: Path) -> None:
    """A client of the server's own in the place of another: all files of the app agree."""
    config, before = load(bundle(folder) / CONFIG), Agreement.read(bundle(folder) / AGREEMENT)
    roster = {**before.roster, 2: identity(9).public}
    other = replace(before, roster=roster, dataset=dataset_of(roster, None))
    (bundle(folder) / AGREEMENT).write_bytes(other.to_bytes())
    plan = plan_of(config, other.subject(config))
    (bundle(folder) / PLAN).write_text(json.dumps(plan.to_dict()))
    with pytest.raises(UsageError, match="for another roster"):
        node(folder)


def test_the_node_is_in_no_roster(folder: Path) -> None:
    own = folder / "nodes" / "1"
    shutil.copy(folder / "nodes" / "2" / "identity.pem", own / "other.pem")
    policy(folder, "identity", '"other.pem"')
    assert node(folder).number == 2  # another member is that member
    new_identity(own / "stranger.pem", name="stranger")
    policy(folder, "identity", '"stranger.pem"')
    with pytest.raises(UsageError):
        node(folder)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("server", identity(9).public.hex(), "key of the server's ledger"),
        ("authority", identity(9).public.hex(), "key authority"),
        ("model", "cc" * 32, "which this node's policy does not list"),
    ],
)
def test_the_agreement_names_another(folder: Path, field: str, value: str, message: str) -> None:
    edit(bundle(folder) / AGREEMENT, lambda agreement: agreement.update({field: value}))
    with pytest.raises((UsageError, IntegrityError), match=message):
        node(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aggregator": "plain"}, "aggregator is 'plain'"),
        ({"trust": "central"}, "trust is 'central'"),
        ({"trust": "local"}, "trust is 'local'"),
        ({"aggregator": "ckks", "ckks": {"mode": "shared-key"}}, "aggregator is 'shared-key'"),
        ({"privacy__insecure_seed": 1}, "insecure_seed"),
    ],
)
def test_an_app_that_protects_less_is_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    ship(folder, **changes)
    with pytest.raises(UnsafeParameters, match=message):
        node(folder)


@pytest.mark.slow
def test_an_app_that_came_after_the_accepted_one_is_looked_at_anew(folder: Path, weak: Path) -> None:
    node(folder)
    shutil.copytree(weak, bundle(folder), dirs_exist_ok=True)
    with pytest.raises(UnsafeParameters):
        node(folder)


def test_a_policy_that_was_tightened_after_the_app_was_accepted_holds(folder: Path) -> None:
    node(folder)
    policy(folder, "max_epsilon", "0.01")
    with pytest.raises(UnsafeParameters):
        node(folder)


def test_a_roster_that_was_changed_after_the_app_was_accepted_holds(folder: Path) -> None:
    node(folder)
    path = folder / "nodes" / "1" / "roster.toml"
    first, second, _ = load_roster(path).members
    path.unlink()
    write_roster(path, [first, second, PublicIdentity("other", identity(9).public)])
    with pytest.raises(UsageError, match="for another roster"):
        node(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"bits": 32}', '{"bits": "x"}', "[" * 99999])
@pytest.mark.parametrize("name", [AGREEMENT, PLAN, CONFIG])
def test_a_file_of_the_app_is_something_else(folder: Path, name: str, text: str) -> None:
    (bundle(folder) / name).write_text(text)
    with pytest.raises(FedprivError):
        node(folder)


@pytest.mark.parametrize("value", [None, -1, 0, 1e308, "7", {}])
@pytest.mark.parametrize("field", ["bits", "scale_log2", "client_bound", "noise_multiplier", "adversaries"])
def test_a_number_of_the_plan_is_something_else(folder: Path, field: str, value: object) -> None:
    edit(bundle(folder) / PLAN, lambda plan: plan.update({field: value}))
    with pytest.raises(FedprivError):
        node(folder)
