"""A whole deployed run, recorded: each message to one node, with that node's folder as it was before."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parties.loopback import Loopback
from parties.small_run import small_config

from fedpriv.deployment.bundle import Bundle
from fedpriv.deployment.files import write_deployment
from fedpriv.deployment.messages import Step, decode_request
from fedpriv.deployment.party import answer
from fedpriv.deployment.serve import serve
from fedpriv.deployment.transport import Parts
from fedpriv.federation.round_server import round_context
from fedpriv.keystore import load_identity
from fedpriv.ledger import Ledger
from fedpriv.ledger.home import now
from fedpriv.ledger.rows import Row

__all__ = ["NODE", "STAGES", "Moment", "Recorded", "changed", "opened_for", "own_rows", "record", "with_blob"]

NODE = "1"
"""The node under attack."""

STAGES = ("advertise", "share", "upload", "consistency", "unmask")
"""Of the masked sum; a round whose keys were made ahead begins with the upload."""


@dataclass(frozen=True)
class Moment:
    """A message to the node, and the node's folder as it was when it came."""

    folder: Path
    bundle: Path
    parts: Parts

    def answer(self, parts: Parts | None = None) -> Parts:
        """What the node answers, in a process of its own as far as it knows; by default to this message."""
        return answer(
            self.parts if parts is None else parts, policy=self.folder / "policy.toml", bundle=self.bundle
        )


@dataclass
class Recorded(Loopback):
    """A loopback that keeps all of what `NODE` is sent."""

    moments: dict[str, Moment] = field(default_factory=dict)

    def _answer(self, name: str, parts: Parts) -> Parts:
        if name == NODE:
            kept = self.folder / "moments" / str(len(self.moments))
            shutil.copytree(self.folder / "nodes" / name, kept)
            self.moments[self._called(parts)] = Moment(kept, self.bundle, parts)
        return super()._answer(name, parts)

    @property
    def bundle(self) -> Path:
        return self.folder / "app" / "fedpriv_run"

    def at(self, name: str, folder: Path) -> Moment:
        """A copy of one moment, in a folder that may be spoilt: ``"upload 1"``, ``"prepare"``, ``"sign"``."""
        moment = self.moments[name]
        shutil.copytree(moment.folder, folder)
        return Moment(folder, moment.bundle, moment.parts)

    def _called(self, parts: Parts) -> str:
        asks, round_ = parts.values["asks"], parts.values.get("round")
        if asks != "step":
            return str(asks)
        earlier = [name.split()[0] for name in self.moments if name.endswith(f" {round_}")]
        first = STAGES.index("upload") if parts.blobs else 0
        place = STAGES.index(earlier[-1]) + 1 if earlier else first
        return f"{STAGES[place]} {round_}"


def record(folder: Path, **changes: Any) -> Recorded:
    """Deploy and run three clients for two rounds."""
    config = small_config(
        folder, **{"run__rounds": 2, "partition__clients": 3, "privacy__noise_multiplier": 3.0, **changes}
    )
    write_deployment(config, folder / "deployed")
    network = Recorded(folder / "deployed")
    serve(network.bundle, network.folder / "server", network)
    return network


def changed(parts: Parts, **values: Any) -> Parts:
    """The message with other values."""
    return Parts({**parts.values, **values}, parts.blobs)


def with_blob(parts: Parts, place: int, blob: bytes) -> Parts:
    """The message with other rows of the server's ledger (place 0), or another model (place 1)."""
    return Parts(parts.values, (*parts.blobs[:place], blob, *parts.blobs[place + 1 :]))


def opened_for(parts: Parts, moment: Moment) -> Parts:
    """The message, an upload's, with the context that fits what it carries: the server lies to all alike."""
    bundle = Bundle.read(moment.bundle)
    agreement = bundle.agreement
    request = decode_request(parts, dataset=agreement.dataset, parameters=agreement.dimension)
    assert isinstance(request, Step)
    assert request.upload is not None
    context = round_context(
        head=request.upload.rows[-1].hash,
        config=agreement.config,
        manifest=agreement.manifest,
        parameters=request.upload.parameters,
        state=request.upload.state,
    )
    return changed(parts, context=context)


def own_rows(folder: Path) -> list[Row]:
    """All rows of a node's own ledger."""
    key = load_identity(folder / "identity.pem")
    with closing(Ledger.open(folder / "ledger.sqlite", key, now)) as ledger:
        return [row for budget in ledger.datasets() for row in ledger.rows(budget.dataset)]
