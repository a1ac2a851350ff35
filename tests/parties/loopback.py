"""Nodes without a network: each message is answered by a party made anew from what lies on its disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fedpriv.deployment.messages import Refusal
from fedpriv.deployment.party import answer
from fedpriv.deployment.transport import Lost, Parts
from fedpriv.errors import FedprivError

__all__ = ["Loopback"]

Reaches = Callable[[str, Parts], bool]


@dataclass
class Loopback:
    """The nodes of a folder that `fedpriv deploy` wrote.

    ``reaches`` says of a node's name and a message whether it arrives; what does not is answered by nobody.
    ``asked`` keeps, of each exchange, which nodes were asked for what.
    """

    folder: Path
    reaches: Reaches = lambda node, parts: True
    asked: list[dict[str, Parts]] = field(default_factory=list)

    @property
    def names(self) -> dict[int, str]:
        """Node -> name of its folder."""
        names = sorted(path.parent.name for path in self.folder.glob("nodes/*/policy.toml"))
        return dict(enumerate(names, start=101))

    def nodes(self) -> set[int]:
        return set(self.names)

    def exchange(self, requests: Mapping[int, Parts], timeout: float) -> Iterator[tuple[int, Parts | Lost]]:
        self.asked.append({self.names[node]: parts for node, parts in requests.items()})
        for node, parts in requests.items():
            if self.reaches(self.names[node], parts):
                yield node, self._answer(self.names[node], parts)

    def _answer(self, name: str, parts: Parts) -> Parts:
        policy = self.folder / "nodes" / name / "policy.toml"
        try:
            return answer(parts, policy=policy, bundle=self.folder / "app" / "fedpriv_run")
        except FedprivError as error:
            return Refusal.of(error, policy.parent).to_parts()
