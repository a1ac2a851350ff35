"""What a node's owner has decided for runs: in a file outside the app, that no server can change."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

from fedpriv import dp
from fedpriv.aggregation import Ckks
from fedpriv.crypto import SigningKey
from fedpriv.deployment.agreement import Agreement
from fedpriv.errors import UnsafeParameters, UsageError
from fedpriv.federation.planning.encrypted import flooding_slack
from fedpriv.federation.planning.plan import Plan
from fedpriv.keystore import Roster, load_party
from fedpriv.keystore.settings_file import Fields, read_settings

__all__ = ["AGGREGATORS", "FORMATS", "TRUST", "UNITS", "RunPolicy", "load_run_policy", "way_of_summing"]

Role = Literal["client", "authority"]
Format = Literal["auto", "csv", "jsonl", "parquet"]

FORMATS: Final = ("auto", "csv", "jsonl", "parquet")
AGGREGATORS: Final = ("masked", "ckks", "shared-key", "plain")
"""The ways of summing that an owner may allow: `ckks` with a key that every client has is one of its own."""
TRUST: Final = ("local", "distributed", "central")
UNITS: Final = ("record", "client")

_SEE: Final = "`fedpriv deploy` writes one, with a comment on every field."


@dataclass(frozen=True, slots=True)
class RunPolicy:
    """What a node insists on, whatever app and configuration the server sends.

    Attributes:
        role: of the node: a client with records, or the key authority of an encrypted sum.
        identity: its private key, as `fedpriv keys new` makes it.
        roster: who takes part, obtained from somewhere other than the server.
        server: public key of the server's ledger, likewise.
        state: folder of what it remembers, sealed, between two messages, and of its caches.
        min_survivors: the fewest clients whose sum may be opened.
        max_colluders: how many clients in league with the server the plan must withstand.
        max_epsilon, delta: what all rounds of a run may cost at most; the cap of the node's own ledger.
        authority: public key of the key authority, where there is one.
        data, format: a client's records, as a `data.source` names them.
        ledger: a client's own ledger.
        models: digests of the base models that a client trains.
        model: folder of the base model, in place of the configuration's `model.id`.
        anchors: folder of the sealed states' sequence numbers; default: beside them.
        passphrase_file: of the identity, where it has a passphrase.
        aggregators, trust, units: what is allowed of `AGGREGATORS`, `TRUST` and `UNITS`.
        allow_semi_honest: that the sum protects only from a server that follows the protocol
            (`Plan.server_follows`).
        allow_insecure_seed: for tests: noise that whoever knows the number can take off again.
    """

    role: Role
    identity: Path
    roster: Path
    server: bytes
    state: Path
    min_survivors: int
    max_colluders: int
    max_epsilon: float
    delta: float
    authority: bytes | None = None
    data: Path | None = None
    format: Format = "auto"
    ledger: Path | None = None
    models: tuple[str, ...] = ()
    model: Path | None = None
    anchors: Path | None = None
    passphrase_file: Path | None = None
    aggregators: tuple[str, ...] = ("masked", "ckks")
    trust: tuple[str, ...] = ("local", "distributed")
    units: tuple[str, ...] = UNITS
    allow_semi_honest: bool = False
    allow_insecure_seed: bool = False

    def __post_init__(self) -> None:
        if not (0.0 < self.delta < 1.0 and self.max_epsilon > 0.0):
            raise UsageError("max_epsilon must be positive, and delta lie between 0 and 1.")
        if self.min_survivors < 1 or self.max_colluders < 0:
            raise UsageError("min_survivors must be 1 or more, and max_colluders 0 or more.")
        if self.role == "authority" and self.authority is None:
            raise UsageError("The key authority's policy has no field 'authority', its own public key.")
        if self.role == "client" and not (self.data and self.ledger and self.models):
            raise UsageError("A client's policy needs data, ledger and models.")

    def party(self) -> tuple[SigningKey, Roster]:
        """This node's identity and the roster, read from disk.

        Raises:
            UsageError: a file that is missing or wrong.
        """
        return load_party(self.identity, self.roster, self.passphrase_file)

    def check_agreement(self, agreement: Agreement, roster: Roster, plan: Plan) -> None:
        """Refuse a deployment that is not the one that the owner agreed to, or promises less.

        Args:
            agreement: what the server says that all agreed on.
            roster: the node's own, of `party`.
            plan: the one that this node made for the agreement by itself.

        Raises:
            UsageError: other parties, or another model, than the owner named.
            UnsafeParameters: it protects less than the owner asks for.
        """
        self._check_parties(agreement, roster.keys)
        if self.role == "client" and agreement.model not in self.models:
            raise UsageError(
                f"The app trains the base model {agreement.model[:16]}…, which this node's policy does not "
                "list.",
                hint="If its owner trusts this model, add its whole digest to models.",
            )
        self._check_protection(plan)

    def _check_parties(self, agreement: Agreement, roster: Mapping[int, bytes]) -> None:
        if dict(agreement.roster) != roster:
            raise UsageError(
                f"The app is for another roster than {self.roster}, which this node's policy names.",
                hint="Compare the roster's fingerprint with the other parties: `fedpriv keys show`.",
            )
        for whose, given, own in (
            ("server's ledger", agreement.server, self.server),
            ("key authority", agreement.authority, self.authority),
        ):
            if given != own:
                raise UsageError(
                    f"The app names {_key(given)} as key of the {whose}; this node's policy, {_key(own)}.",
                    hint="Ask them for their key by another channel than this network.",
                )

    def _check_protection(self, plan: Plan) -> None:
        if plan.insecure and not self.allow_insecure_seed:
            raise UnsafeParameters(
                "The noise of this run follows from privacy.insecure_seed and protects nothing.",
                hint="Leave it out; for a test on records of no value, set allow_insecure_seed = true.",
            )
        for field, planned, allowed in (
            ("aggregators", way_of_summing(plan), self.aggregators),
            ("trust", plan.trust, self.trust),
            ("units", plan.unit, self.units),
        ):
            if planned not in allowed:
                raise UnsafeParameters(
                    f"The run's {field.removesuffix('s')} is {planned!r}; this node allows "
                    f"{' and '.join(map(repr, allowed))}.",
                    hint=f"Plan it otherwise, or let the node's owner add it to {field}.",
                )
        if plan.server_follows and not self.allow_semi_honest:
            raise UnsafeParameters(
                "The planned sum protects only from a server that follows the protocol.",
                hint="Plan the complete graph, or ckks.server = 'malicious'; or let the node's owner set "
                "allow_semi_honest = true.",
            )
        for what, count, least in (
            ("fewest survivors", plan.noise.min_survivors, self.min_survivors),
            ("number of colluders to withstand", plan.noise.max_colluders, self.max_colluders),
        ):
            if count < least:
                raise UnsafeParameters(
                    f"The planned {what} is {count}; this node takes part from {least} upwards.",
                    hint="Plan the run with more, or let the node's owner lower its floor.",
                )
        epsilon = dp.epsilon_pld([(plan.event, plan.rounds)], self.delta)
        if not epsilon <= self.max_epsilon:
            raise UnsafeParameters(
                f"The run's {plan.rounds} rounds cost epsilon = {epsilon:.4g} at delta = {self.delta:g}; "
                f"this node allows {self.max_epsilon:g}.",
                hint="Plan more noise or fewer rounds, or let the node's owner allow more.",
            )
        if isinstance(plan.aggregator, Ckks):  # what the holders' answers tell beside the sum
            flooding_slack(plan.aggregator.params, plan.rounds, epsilon=epsilon, delta=self.delta)


def load_run_policy(path: str | os.PathLike[str]) -> RunPolicy:
    """Read a policy; the paths in it count from its own folder.

    Raises:
        UsageError: it cannot be read, has a field too many or too few, or a value of another kind.
    """
    return read_settings(path, "node policy", _policy, see=_SEE)


def way_of_summing(plan: Plan) -> str:
    """The word of `AGGREGATORS` for a plan."""
    if isinstance(plan.aggregator, Ckks) and plan.aggregator.params.mode == "shared-key":
        return "shared-key"
    return plan.aggregator.name


def _policy(given: Fields) -> RunPolicy:
    role = cast(Role, given.word("role", ("client", "authority")))
    client = role == "client"
    return RunPolicy(
        role=role,
        identity=given.path("identity"),
        roster=given.path("roster"),
        server=given.key("server"),
        state=given.path("state"),
        min_survivors=given.whole("min_survivors"),
        max_colluders=given.whole("max_colluders"),
        max_epsilon=given.number("max_epsilon"),
        delta=given.number("delta"),
        authority=given.optional(given.key, "authority"),
        data=given.path("data") if client else None,
        format=cast(Format, given.word("format", FORMATS, "auto")) if client else "auto",
        ledger=given.path("ledger") if client else None,
        models=given.digests("models") if client else (),
        model=given.optional(given.path, "model") if client else None,
        anchors=given.optional(given.path, "anchors"),
        passphrase_file=given.optional(given.path, "passphrase_file"),
        aggregators=given.words("aggregators", AGGREGATORS, ("masked", "ckks")),
        trust=given.words("trust", TRUST, ("local", "distributed")),
        units=given.words("units", UNITS, UNITS),
        allow_semi_honest=given.flag("allow_semi_honest", False),
        allow_insecure_seed=given.flag("allow_insecure_seed", False),
    )


def _key(key: bytes | None) -> str:
    return "none" if key is None else f"{key.hex()[:16]}…"
