"""The simulated clients' own ledgers: a file and a key for each, with a cap that the server cannot raise."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fedpriv.crypto import SigningKey, digest
from fedpriv.errors import BudgetExceeded, IntegrityError, UsageError
from fedpriv.federation.config import Config
from fedpriv.federation.home import ledger_path
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.workplace import DataSet
from fedpriv.ledger import Checkpoint, ClientLedger, Head, Ledger
from fedpriv.ledger.countersigned import roster_digest
from fedpriv.ledger.home import open_ledger

__all__ = ["ClientLedgers", "client_ledgers_folder", "open_client_ledgers", "set_caps"]

_FILES_EACH = 4
_SPARE_FILES = 256


@dataclass(slots=True)
class ClientLedgers:
    """What all clients of a run know and insist on; empty where the configuration gives them no ledgers."""

    clients: Mapping[int, ClientLedger]
    unit: Mapping[str, str]
    _unwilling: dict[int, str] = field(default_factory=dict, init=False)

    @property
    def keys(self) -> dict[int, SigningKey]:
        """Each client's identity."""
        return {client: ledger.key for client, ledger in self.clients.items()}

    def roster_digest(self) -> str:
        """What the PLAN row holds of the clients' keys; see `fedpriv.ledger.countersigned.roster_digest`."""
        return roster_digest({client: key.public for client, key in self.keys.items()})

    def close(self) -> None:
        """Release every ledger."""
        for ledger in self.clients.values():
            ledger.close()

    def follow(self, server: Ledger, dataset: str, *, among: Iterable[int] | None = None) -> None:
        """Show the clients (of ``among``) the server's chain, as far as each has not seen it.

        Raises:
            IntegrityError: a client remembers a row that is not there; it is named.
        """
        shown = [client for client in (self.clients if among is None else among) if client in self.clients]
        start = min((self.clients[client].length for client in shown), default=0)
        rows = server.rows(dataset, start) if shown else []
        for client in shown:
            ledger = self.clients[client]
            try:
                ledger.follow(rows[ledger.length - start :])
            except IntegrityError as error:
                raise IntegrityError(f"Client {client} refuses. {error}", hint=error.hint) from None

    def check(self, plan: Plan, *, epsilon: float, name: str) -> None:
        """Ask each client whether its own budget has room for ``plan``; nothing is spent.

        Clients without a budget are given ``epsilon``, at the plan's δ.

        Raises:
            BudgetExceeded: so many have no room that no round could succeed.
        """
        unwilling = self._asked(
            self.clients,
            lambda ledger: ledger.willing(
                event=plan.event,
                rounds=plan.rounds,
                unit=plan.unit_key,
                epsilon=epsilon,
                name=name,
                delta=plan.delta,
            ),
        )
        if unwilling and len(self.clients) - len(unwilling) < plan.noise.min_survivors:
            client, reason = min(unwilling.items())
            raise BudgetExceeded(
                f"{len(unwilling)} of {len(self.clients)} clients have no room for the plan in ledgers of "
                f"their own, and a round needs {plan.noise.min_survivors}. Client {client}: {reason}",
                hint="Plan less, or let the clients raise their own caps: `fedpriv budget set CONFIG "
                "--clients` does it for simulated ones.",
            )

    def join(self, run_id: str, plan: Plan) -> None:
        """Let every client that has room commit to the run that the server's chain holds."""
        self._unwilling = self._asked(
            self.clients, lambda ledger: ledger.join(run_id, event=plan.event, rounds=plan.rounds)
        )

    def refusals(self, run_id: str, members: Iterable[int]) -> dict[int, str]:
        """Why clients among ``members`` take no part in another round, by client; nothing is written."""
        asked = [client for client in members if client in self.clients]
        never = {client: self._unwilling[client] for client in asked if client in self._unwilling}
        joined = [client for client in asked if client not in never]
        return never | self._asked(joined, lambda ledger: ledger.ready(run_id))

    def reserve(self, run_id: str, round_: int, client: int) -> None:
        """Let ``client`` count the round in its own ledger, before anything of it leaves the client.

        Raises:
            BudgetExceeded: its own budget does not allow it.
        """
        if client in self.clients:
            self.clients[client].reserve(run_id, round_, self.unit)

    @property
    def accounted(self) -> bool:
        """Whether the clients keep ledgers of their own."""
        return bool(self.clients)

    def sign_last(self) -> Checkpoint | None:
        """Nothing: a round is signed as soon as it is released."""
        return None

    def signed(self, present: Iterable[int]) -> Checkpoint | None:
        """The server's head, signed by the clients that are ``present`` and have cause to; or ``None``."""
        signed = {}
        for client in present:
            signature = self.clients[client].countersign() if client in self.clients else None
            if signature is not None:
                signed[client] = (self.clients[client].key.public, signature)
        if not signed:
            return None
        last = self.clients[min(signed)].last
        return Checkpoint(Head.of(last), last.signature, last.run, last.round or 0, signed)

    def withdrawals(self, run_id: str, round_: int, members: Iterable[int]) -> dict[int, bytes] | None:
        """Each member's word that nothing of a round left it; ``None`` if one of them cannot give it."""
        given = {}
        for client in members:
            word = (
                self.clients[client].withdraw(run_id, round_, self.unit) if client in self.clients else None
            )
            if word is None:
                return None
            given[client] = word
        return given

    def settle(self) -> None:
        """Let every client write down what became of its rounds and runs."""
        for ledger in self.clients.values():
            ledger.settle()

    def _asked(self, clients: Iterable[int], question: Callable[[ClientLedger], None]) -> dict[int, str]:
        """The reasons of those that say no."""
        refused = {}
        for client in clients:
            try:
                question(self.clients[client])
            except (BudgetExceeded, UsageError) as error:
                refused[client] = str(error)
        return refused


def client_ledgers_folder(config: Config, dataset: DataSet) -> Path:
    """Where the clients of this partition keep their ledgers: beside the server's.

    A simulated client is its place in a partition of a data set: it stays the same client when the data set
    grows, and another partition or another seed makes other clients.
    """
    path = ledger_path(config)
    partition = {**config.partition.model_dump(mode="json"), "seed": config.run.seed}
    written = json.dumps(partition, sort_keys=True)
    named = digest("fedpriv/partition/v2", dataset.fingerprint.encode(), written.encode()).hex()
    return path.with_suffix(".clients") / named[:16]


def open_client_ledgers(config: Config, dataset: DataSet, plan: Plan, *, server: bytes) -> ClientLedgers:
    """Open the ledger of every client, made where it is missing; none where ``budget.client_ledgers`` is off.

    Args:
        server: public key of the server's ledger.
    """
    unit = plan.unit_details
    if not config.budget.client_ledgers:
        return ClientLedgers({}, unit)
    _allow_files(dataset.clients)
    folder = client_ledgers_folder(config, dataset)
    opened: dict[int, ClientLedger] = {}
    try:
        for client in range(1, dataset.clients + 1):
            own = open_ledger(folder / str(client) / "ledger.sqlite")
            records = digest("fedpriv/client-records/v1", own.public, folder.name.encode()).hex()
            opened[client] = ClientLedger(own, records, server=server, server_dataset=dataset.fingerprint)
    except BaseException:
        ClientLedgers(opened, unit).close()
        raise
    return ClientLedgers(opened, unit)


def set_caps(config: Config, dataset: DataSet, *, epsilon: float, delta: float) -> int:
    """Set the caps of all simulated clients of a configuration, as each client's owner would; how many.

    Raises:
        UsageError: no run of the configuration has given its clients ledgers yet, or another δ than before.
    """
    paths = sorted(client_ledgers_folder(config, dataset).glob("*/ledger.sqlite"))
    if not paths:
        raise UsageError(
            "The clients of this configuration have no ledgers yet.",
            hint="The first run gives them some, with budget.client_epsilon as their caps.",
        )
    for path in paths:
        with open_ledger(path) as ledger:
            for budget in ledger.datasets():
                ledger.set_budget(budget.dataset, budget.name, epsilon, delta)
    return len(paths)


def _allow_files(clients: int) -> None:
    """Let this process hold the ledgers of all clients open: their log and index beside each."""
    needed = clients * _FILES_EACH + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise UsageError(
                f"This process may open {hard} files, and ledgers of {clients} clients take {needed}.",
                hint="Raise the limit (ulimit -n), or set budget.client_ledgers = false.",
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
