"""What a node's owner has decided: in a file on the node, outside the app, that no server can change."""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fedpriv.crypto import SigningKey
from fedpriv.entropy import Entropy
from fedpriv.errors import UnsafeParameters, UsageError
from fedpriv.flower.plan import PrivateSumPlan
from fedpriv.keystore import Roster, load_identity, load_roster, read_passphrase
from fedpriv.local_file import read_text
from fedpriv.secagg import Floors

__all__ = ["POLICY_KEY", "NodePolicy", "load_policy"]

POLICY_KEY: Final = "fedpriv-policy"
"""The key of ``--node-config`` that holds the path of the policy."""

_PATHS: Final = {"identity", "roster", "state"}
_REQUIRED: Final = _PATHS | {"session", "min_survivors", "max_colluders", "max_epsilon", "delta"}
_OPTIONAL: Final = {"anchor", "passphrase_file", "insecure_seed"}

_SEE: Final = "examples/flower/README.md shows one."

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
        passphrase = None if self.passphrase_file is None else read_passphrase(self.passphrase_file)
        return load_identity(self.identity, passphrase), load_roster(self.roster)


def load_policy(path: str | os.PathLike[str]) -> NodePolicy:
    """Read a policy; the paths in it count from its own folder.

    Raises:
        UsageError: it cannot be read, has a field too many or too few, or a value of another kind.
    """
    path = Path(path)
    text = read_text(path, "node policy")
    try:
        return _policy(tomllib.loads(text), path.parent)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML, so no node policy: {error}.", hint=_SEE) from None
    except UsageError as error:
        raise UsageError(f"{path}: {error}", hint=error.hint) from None


def _policy(values: Mapping[str, Any], folder: Path) -> NodePolicy:
    known = _REQUIRED | _OPTIONAL
    for name in sorted((values.keys() - known) | (_REQUIRED - values.keys())):
        fault = "an unknown field" if name in values else "no field"
        raise UsageError(
            f"The policy has {fault} {name!r}.", hint=f"Its fields are {', '.join(sorted(known))}."
        )
    fields: dict[str, Any] = {}
    for name, value in values.items():
        if name in _PATHS | {"anchor", "passphrase_file"}:
            fields[name] = folder / _typed(name, value, str)
        elif name == "session":
            fields[name] = _typed(name, value, str)
        elif name in ("max_epsilon", "delta"):
            fields[name] = float(_typed(name, value, int, float))
        else:
            fields[name] = _typed(name, value, int)
    policy = NodePolicy(**fields)
    if not (0.0 < policy.delta < 1.0 and policy.max_epsilon > 0.0):
        raise UsageError("max_epsilon must be positive, and delta lie between 0 and 1.")
    return policy


def _typed(name: str, value: Any, *kinds: type) -> Any:
    if type(value) not in kinds:
        wanted = " or ".join({str: "text", int: "a whole number", float: "a number"}[kind] for kind in kinds)
        raise UsageError(f"{name} must be {wanted}, not {value!r}.")
    return value
