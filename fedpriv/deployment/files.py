"""`fedpriv deploy`: everything that a configuration's run needs on a network, written into one folder."""

from __future__ import annotations

import secrets
import shutil
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from fedpriv import data
from fedpriv.deployment.agreement import Agreement, dataset_of, needs_authority
from fedpriv.deployment.app import write_app
from fedpriv.deployment.parties import Parties, held_out, no_records
from fedpriv.deployment.policy import RunPolicy, way_of_summing
from fedpriv.deployment.readme import readme
from fedpriv.deployment.server_settings import ServerSettings
from fedpriv.deployment.settings_text import policy_text, server_text
from fedpriv.deployment.tls import write_tls
from fedpriv.errors import UnsafeParameters, UsageError
from fedpriv.federation.config import Config
from fedpriv.federation.config.simulation_rules import check_deployable
from fedpriv.federation.planning.allowance import first_budget
from fedpriv.federation.planning.make import plan_of
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.task_of import record_columns
from fedpriv.federation.workplace import DataSet, assemble, load_data
from fedpriv.keystore import PublicIdentity, Roster, load_public, new_identity, public_path, write_roster
from fedpriv.ledger.home import open_ledger
from fedpriv.local_file import PRIVATE, PUBLIC, create_file, writable

__all__ = ["Deployed", "write_deployment"]

_AUTHORITY: Final = "authority"


@dataclass(frozen=True, slots=True)
class Deployed:
    """What was written: where, on what the parties agree, and for whom."""

    folder: Path
    agreement: Agreement
    fingerprint: str
    nodes: tuple[str, ...]
    made: bool
    """Whether keys and records of the parties were made here, to try the deployment out."""


def write_deployment(config: Config, folder: Path, parties: Parties | None = None) -> Deployed:
    """Write all files of a deployment; ``folder`` is there whole at the end, or as it was.

    Without ``parties`` it is one to try things out with: the configuration's data are split as a run in one
    process does it, and keys are made for everybody.  With them nobody's records are read.

    Raises:
        UsageError: the folder is not empty or cannot be written; the data, the model or the parties do not
            fit the configuration.
        UnsafeParameters: the plan does not keep what the configuration promises.
    """
    folder = folder.absolute()
    _check_free(folder)
    check_deployable(config)
    if parties is not None:
        config = parties.declared(config)
    dataset = load_data(config) if parties is None else held_out(config)
    beside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.new")
    with writable(folder, "deployment"):
        beside.mkdir(parents=True)
    try:
        deployed = _Writer(config, beside, dataset, parties).write()
        with writable(folder, "deployment"):
            beside.rename(folder)  # over an empty folder, too
    except BaseException:
        shutil.rmtree(beside)
        raise
    return replace(deployed, folder=folder)


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes one deployment into a new folder."""

    config: Config
    folder: Path
    dataset: DataSet
    parties: Parties | None

    def write(self) -> Deployed:
        roster, authority = self._who()
        with closing(open_ledger(self.folder / "server" / self._ledger())) as ledger:
            server = ledger.public
        agreement = self._agreement(roster, authority, server)
        plan = plan_of(self.config, agreement.subject(self.config))
        self._check(plan, agreement, roster)
        made = self.parties is None
        nodes = (*map(str, roster.keys), *([_AUTHORITY] if authority is not None else []))
        for node in nodes:
            policy = self._policy(node, agreement, plan)
            text = policy_text(policy, fingerprint=roster.fingerprint, made=made)
            self._put(f"nodes/{node}/policy.toml", text)
            write_roster(self._place(f"nodes/{node}/roster.toml"), roster.members)
        if made:
            self._put_records()
            self._place("tls").mkdir()
            write_tls(self._place("tls"), nodes, now=datetime.now(UTC))
        write_roster(self._place("roster.toml"), roster.members)
        self._put_server(roster, agreement)
        write_app(self._place("app"), self.config, agreement, plan)
        self._put("README.md", readme(self.config, agreement, nodes, roster=roster, made=made))
        return Deployed(self.folder, agreement, roster.fingerprint, nodes, made)

    def _who(self) -> tuple[Roster, bytes | None]:
        """The clients and the key authority: those that were named, or with keys made for them."""
        if self.parties is not None:
            named = self.parties.authority
            return self.parties.roster, None if named is None else named.key
        clients = [self._new_party(str(client)) for client in range(1, self.dataset.clients + 1)]
        authority = self._new_party(_AUTHORITY) if needs_authority(self.config) else None
        return Roster(tuple(clients)), None if authority is None else authority.key

    def _new_party(self, node: str) -> PublicIdentity:
        """Make a node's identity in its folder."""
        path = self._place(f"nodes/{node}/identity.pem")
        new_identity(path, name=f"node-{node}")
        return load_public(public_path(path))

    def _ledger(self) -> Path:
        """The server's ledger, from its folder: for parties with data of their own the one that is named, as
        earlier runs may stand in it; otherwise a new one."""
        named = self.config.budget.ledger
        if self.parties is None or named is None:
            return Path("ledger.sqlite")
        return self.config.resolve(named)

    def _agreement(self, roster: Roster, authority: bytes | None, server: bytes) -> Agreement:
        """What follows from the configuration and the model for these parties."""
        from fedpriv.training import FrozenWeights

        labels = self.dataset.train.label_names
        work = assemble(self.config, no_records(labels))
        records = self.config.privacy.records or len(self.dataset.train)
        return Agreement(
            name=self.config.run.name,
            config=self.config.digest(),
            dataset=dataset_of(roster.keys, self.config.data.version),
            server=server,
            roster=roster.keys,
            authority=authority,
            records=records if self.parties is None else self.parties.records,
            labels=labels,
            dimension=work.manifest.size,
            sent=work.spec.kind.width(work.manifest, work.spec),
            manifest=work.manifest.digest(),
            model=FrozenWeights.of(work.model, work.manifest).digest(),
        )

    def _check(self, plan: Plan, agreement: Agreement, roster: Roster) -> None:
        """Refuse what the server or the nodes would refuse when the run begins."""
        if plan.problems:
            raise UnsafeParameters(
                plan.problems[0],
                hint="Leave privacy.noise_multiplier out, or take fewer rounds or a smaller batch.",
            )
        self._policy("1", agreement, plan).check_agreement(agreement, roster, plan)

    def _policy(self, node: str, agreement: Agreement, plan: Plan) -> RunPolicy:
        """A node's policy that has room for this plan and no more; the paths in it count from its folder."""
        client = node != _AUTHORITY
        return RunPolicy(
            role="client" if client else "authority",
            identity=Path("identity.pem"),
            roster=Path("roster.toml"),
            server=agreement.server,
            state=Path("state"),
            min_survivors=plan.noise.min_survivors,
            max_colluders=plan.noise.max_colluders,
            max_epsilon=self.config.budget.client_epsilon or first_budget(self.config),
            delta=plan.delta,
            authority=agreement.authority,
            data=self._table("records") if client else None,
            ledger=Path("ledger.sqlite") if client else None,
            models=(agreement.model,) if client else (),
            model=self._model() if client and self.parties is None else None,
            aggregators=(way_of_summing(plan),),
            trust=(plan.trust,),
            units=(plan.unit,),
            allow_semi_honest=plan.server_follows,
            allow_insecure_seed=plan.insecure and self.parties is None,
        )

    def _model(self) -> Path | None:
        """The model's folder on this machine, where the configuration names one; the app lies elsewhere."""
        local = self.config.resolve(self.config.model.id)
        return local if local.is_dir() else None

    def _put_records(self) -> None:
        """Each client's records, in the order that a run in one process has them in."""
        for client, shard in enumerate(self.dataset.shards, start=1):
            self._put_table(f"nodes/{client}/{self._table('records')}", self.dataset.train.select(shard))

    def _put_server(self, roster: Roster, agreement: Agreement) -> None:
        write_roster(self._place("server/roster.toml"), roster.members)
        self._put_table(f"server/{self._table('test')}", self.dataset.test)
        settings = ServerSettings(
            roster=Path("roster.toml"),
            test=self._table("test"),
            ledger=self._ledger(),
            run=Path("run"),
            authority=agreement.authority,
            model=self._model(),
        )
        self._put("server/server.toml", server_text(settings))

    def _put_table(self, name: str, table: data.Table) -> None:
        """Records with the columns that the configuration names, in a file that a node can read."""
        columns = record_columns(self.config)
        content = data.written(table, content=columns["image"] or columns["text"], label=columns["label"])
        create_file(self._place(name), content, what="records", mode=PRIVATE)

    def _table(self, name: str) -> Path:
        """The name of a file of records."""
        return Path(name).with_suffix(data.suffix_of(self.dataset.test))

    def _put(self, name: str, text: str) -> None:
        create_file(self._place(name), text.encode(), what="file", mode=PUBLIC)

    def _place(self, name: str) -> Path:
        """Where a file goes; its folder is made."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _check_free(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        raise UsageError(
            f"{folder} exists and is not an empty folder; nothing in it is overwritten.",
            hint="Name a new folder, or move this one away: it may hold keys and a ledger.",
        )
