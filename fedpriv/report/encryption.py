"""What a plan says of an encrypted sum: who has its key, what that hides, and what it rests on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, cast, get_args

from fedpriv.ckks.security import flooding_slack
from fedpriv.errors import IntegrityError
from fedpriv.report.wording import at_most

__all__ = ["Encryption", "hides_updates"]

_Mode = Literal["authority", "threshold", "shared-key"]
_Server = Literal["malicious", "semi-honest"]
_Row = tuple[str, str, str]

_MOST = 1 << 20


@dataclass(frozen=True, slots=True)
class Encryption:
    """The ``ckks`` part of a plan, checked.

    ``holders`` parties have the key, of which ``threshold`` open a sum, at most ``sums_per_key`` with one
    key.  ``statistical_bits`` bounds what the answers of a committee tell beside the sums, and
    ``flooding_slack`` is what that adds to δ over the run.
    """

    mode: _Mode
    holders: int
    threshold: int
    server: _Server
    sums_per_key: int
    statistical_bits: int | None
    flooding_slack: float
    degree: int
    modulus_bits: int

    @classmethod
    def of(cls, plan: dict[str, Any]) -> Encryption | None:
        """That of a plan; None where its sums are not encrypted.

        Raises:
            IntegrityError: the plan does not say what it must.
        """
        if plan["aggregator"] != "ckks":
            return None
        said = plan.get("ckks")
        if not isinstance(said, dict):
            raise IntegrityError("plan.json: 'ckks' does not say how the sums are encrypted")
        mode, server = said.get("mode"), said.get("server")
        if mode not in get_args(_Mode) or server not in get_args(_Server):
            raise IntegrityError(f"plan.json, ckks: there is no mode {mode!r} with a server {server!r}")
        numbers = {}
        for key in ("holders", "threshold", "sums_per_key", "degree", "modulus_bits"):
            number = said.get(key)
            if type(number) is not int or not 1 <= number <= _MOST:
                raise IntegrityError(f"plan.json, ckks: {key!r} is not a number from 1 to {_MOST}")
            numbers[key] = number
        bits, slack = said.get("statistical_bits"), said.get("flooding_slack")
        committee = mode == "threshold"
        if type(bits) is not (int if committee else type(None)) or (bits or 0) not in range(_MOST):
            raise IntegrityError(
                "plan.json, ckks: 'statistical_bits' is for mode 'threshold', and for it alone"
            )
        if not isinstance(slack, int | float) or isinstance(slack, bool):
            raise IntegrityError("plan.json, ckks: 'flooding_slack' is not a number")
        return cls(
            mode=cast(_Mode, mode),
            server=cast(_Server, server),
            statistical_bits=bits,
            flooding_slack=float(slack),
            **numbers,
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @property
    def in_words(self) -> str:
        """Who opens a sum, as a part of a sentence."""
        return {
            "authority": "a key authority opens the sum",
            "threshold": f"{self.threshold} of {self.holders} clients open the sum together",
            "shared-key": "every client has the whole key",
        }[self.mode]

    def derived_slack(self, epsilon: float, rounds: int) -> float:
        """What flooding adds to δ, recomputed; 0 where sums are opened exactly."""
        if self.statistical_bits is None:
            return 0.0
        return flooding_slack(self.statistical_bits, rounds, self.sums_per_key, epsilon)

    def warnings(self, colluders: int, trust: str) -> list[_Row]:
        """What a reader must know first: level, title, text."""
        found: list[_Row] = []
        if self.mode == "shared-key":
            level = "danger" if colluders and trust == "distributed" else "caution"
            text = (
                "Every client held the whole secret key, so the server together with any one client could "
                "open every single update. "
            )
            text += (
                "The stated ε does not hold against the server."
                if level == "danger"
                else "The stated ε rests on no client having done so."
                if trust == "distributed"
                else "Each update carries its full noise; the stated ε holds for it, but not by any secrecy "
                "of the sum."
            )
            found.append((level, "The key was shared by all clients", text))
        if self.server == "semi-honest" and trust == "distributed":
            text = (
                "Holders of the key open what the server says is the sum. A server that lies could have "
                "single updates opened; the stated ε does not hold against it."
            )
            found.append(("caution", "The server is taken to follow the protocol", text))
        return found

    def assumptions(self, colluders: int) -> list[_Row]:
        """What the secrecy of single updates rests on: assumption, status, evidence."""
        found: list[_Row] = [
            {
                "authority": (
                    "The key authority and the server do not work together.",
                    "asserted",
                    "Together they open every single update; section 3 has the ε of that.",
                ),
                "threshold": (
                    f"Of the {self.holders} holders of the key fewer than {self.threshold} work with the "
                    "server.",
                    "asserted",
                    f"{self.threshold} of them and the server open every single update; section 3 has the "
                    "ε of that.",
                ),
                "shared-key": (
                    "No client works with the server.",
                    "violated" if colluders else "asserted",
                    f"The plan allows for {colluders}, and one is enough to open every single update."
                    if colluders
                    else "One is enough to open every single update; section 3 has the ε of that.",
                ),
            }[self.mode]
        ]
        if self.server == "semi-honest":
            text = (
                "One that does not could have single updates opened: the holders see only what it added up."
            )
            found.append(("The server follows the protocol.", "asserted", text))
        elif colluders and self.mode != "shared-key":
            found.append(
                (
                    "Clients that work with the server follow the protocol otherwise.",
                    "asserted",
                    "There are no proofs of correct encryption: one that sends something else could ask "
                    "about the key. Where that must not be assumed, use masks (aggregator = masked).",
                )
            )
        if self.statistical_bits is not None:
            found.append(
                (
                    "What the holders' answers tell beside the sums is within "
                    f"2^-{self.statistical_bits} a key.",
                    "asserted",
                    "By noise that floods each answer; over the run it adds at most "
                    f"{at_most(self.flooding_slack)} to δ, which is not in the stated δ.",
                )
            )
        return found


def hides_updates(plan: dict[str, Any]) -> bool:
    """Whether, as the plan has it, the server is kept from seeing single updates."""
    encryption = Encryption.of(plan)
    if encryption is None:
        return bool(plan["aggregator"] != "plain")
    return not (encryption.mode == "shared-key" and plan["max_colluders"])
