"""What a node's owner has decided: in a file on the node, outside the app, that no server can change."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fedpriv.crypto import SigningKey
from fedpriv.entropy import Entropy
from fedpriv.errors import UnsafeParameters, UsageError
from fedpriv.flower.plan import PrivateSumPlan
from fedpriv.keystore import Roster, load_party
from fedpriv.keystore.settings_file import Fields, read_settings
from fedpriv.secagg import Floors

__all__ = ["POLICY_KEY", "NodePolicy", "load_policy", "policy_path"]

POLICY_KEY: Final = "fedpriv-policy"
"""The key of ``--node-config`` that holds the path of the policy."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NodePolicy:
    """What a node insists on, whatever app the server sends.

    Attributes:
        session: the one session that this node takes part in.
        identity: its private key, as `fedpriv keys new` makes it.
        roster: who takes part, obtained from somewhere other than the server.
        state: where it keeps, sealed, what it remembers between two messages; one file a session.
        min_survivors: the fewest clients whose sum may be opened.
        max_colluders: how many clients in league with the server the plan must withstand.
        max_epsilon, delta: what all rounds of the session may cost at most.
        anchor: where the state's number is kept (`keystore.StateFile`); default: beside the state.
        passphrase_file: of the identity, where it has a passphrase.
        insecure_seed: for tests: noise that whoever knows the number can take off again.
    """

    session: str
    identity: Path
    roster: Path
    state: Path
    min_survivors: int
    max_colluders: int
    max_epsilon: float
    delta: float
    anchor: Path | None = None
    passphrase_file: Path | None = None
    insecure_seed: int | None = None

    def check_session(self, plan: PrivateSumPlan) -> None:
        """Refuse a plan of another session than the owner agreed to.

        Raises:
            UsageError: it is.
        """
        if plan.session != self.session:
            raise UsageError(
                f"The app is of the session {plan.session!r}; this node takes part in {self.session!r}.",
                hint="A new session needs a policy of its own, with a state of its own.",
            )

    def check_epsilon(self, plan: PrivateSumPlan) -> None:
        """Refuse a plan that costs more than this node allows.

        Raises:
            UnsafeParameters: it does.
        """
        epsilon = plan.epsilon(self.delta)
        if not epsilon <= self.max_epsilon:
            raise UnsafeParameters(
                f"The session's {plan.rounds} rounds cost epsilon = {epsilon:.4g} at delta = {self.delta:g}; "
                f"this node allows {self.max_epsilon:g}.",
                hint="Plan more noise or fewer rounds, or let the node's owner allow more.",
            )

    @property
    def floors(self) -> Floors:
        """The floors in the form that `secagg.Client` insists on (SA-9)."""
        return Floors(survivors=self.min_survivors, colluders=self.max_colluders)

    @property
    def entropy(self) -> Entropy:
        """Where this node's noise comes from."""
        if self.insecure_seed is not None:
            _log.warning(
                "INSECURE: the noise follows from insecure_seed = %d and protects nothing.",
                self.insecure_seed,
            )
        return Entropy(self.insecure_seed)

    def party(self) -> tuple[SigningKey, Roster]:
        """This node's identity and the roster, read from disk.

        Raises:
            UsageError: a file that is missing or wrong.
        """
        return load_party(self.identity, self.roster, self.passphrase_file)


def policy_path(node_config: Mapping[str, Any]) -> Path:
    """Where the node's policy lies, as the SuperNode was told.

    Raises:
        UsageError: it was not told.
    """
    path = node_config.get(POLICY_KEY)
    if not isinstance(path, str):
        raise UsageError(
            f"This node's configuration names no {POLICY_KEY}.",
            hint=f"Start the SuperNode with --node-config '{POLICY_KEY}=\"/path/to/policy.toml\"'.",
        )
    return Path(path)


def load_policy(path: str | os.PathLike[str]) -> NodePolicy:
    """Read a policy; the paths in it count from its own folder.

    Raises:
        UsageError: it cannot be read, has a field too many or too few, or a value of another kind.
    """
    return read_settings(path, "node policy", _policy, see="examples/flower/README.md shows one.")


def _policy(given: Fields) -> NodePolicy:
    policy = NodePolicy(
        session=given.text("session"),
        identity=given.path("identity"),
        roster=given.path("roster"),
        state=given.path("state"),
        min_survivors=given.whole("min_survivors"),
        max_colluders=given.whole("max_colluders"),
        max_epsilon=given.number("max_epsilon"),
        delta=given.number("delta"),
        anchor=given.optional(given.path, "anchor"),
        passphrase_file=given.optional(given.path, "passphrase_file"),
        insecure_seed=given.optional(given.whole, "insecure_seed"),
    )
    if not (0.0 < policy.delta < 1.0 and policy.max_epsilon > 0.0):
        raise UsageError("max_epsilon must be positive, and delta lie between 0 and 1.")
    return policy
