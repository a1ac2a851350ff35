"""A policy and the server's settings as `fedpriv deploy` writes them: every field with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

from fedpriv.deployment.policy import RunPolicy
from fedpriv.deployment.server_settings import ServerSettings
from fedpriv.federation.config.text import write_toml

__all__ = ["policy_text", "server_text"]

_WIDTH: Final = 108

_Paragraph = tuple[str, Mapping[str, Any]]


def policy_text(policy: RunPolicy, *, fingerprint: str, made: bool) -> str:
    """``policy.toml``; `load_run_policy` reads ``policy`` from it.

    Args:
        policy: the paths in it count from the policy's own folder.
        fingerprint: of the roster.
        made: its files were made with it; otherwise the text says what its owner has to put there.
    """
    return _text(_policy(policy, fingerprint, made))


def server_text(settings: ServerSettings) -> str:
    """``server.toml``; `load_server_settings` reads ``settings`` from it."""
    return _text(_settings(settings))


def _policy(policy: RunPolicy, fingerprint: str, made: bool) -> Iterator[_Paragraph]:
    fill_in = "" if made else "  Put it there, or name another."
    keys = " and of the key authority" if policy.authority else ""
    yield (
        "What this node insists on, whatever app and configuration the server sends.  Paths count from the "
        "folder of this file.",
        {"role": policy.role},
    )
    yield (
        f"Its private key, as `fedpriv keys new` makes it.{fill_in}  Where it has a passphrase: "
        'passphrase_file = "FILE"',
        {"identity": policy.identity},
    )
    yield (
        f"Who takes part, and the public key of the server's ledger{keys}.  Compare them with the others by "
        f"telephone or in person; the roster's fingerprint: {fingerprint}",
        {"roster": policy.roster, "server": policy.server, "authority": policy.authority},
    )
    if policy.role == "client":
        yield f"Its records.{fill_in}", {"data": policy.data, "format": policy.format}
        yield (
            "Its own ledger, the same for every run on these records: it refuses what its cap does not "
            "allow.  It is made where there is none, and signed with the identity.",
            {"ledger": policy.ledger},
        )
        yield (
            "The base models that it trains, by the digest of their weights.  To take the model from a "
            'folder: model = "FOLDER"',
            {"models": policy.models, "model": policy.model},
        )
    yield (
        "What it remembers between two messages, sealed, and caches.  Keep it out of backups: state that "
        'went back in time is refused.  To keep on another disk how far it is: anchors = "FOLDER"',
        {"state": policy.state, "anchors": policy.anchors},
    )
    yield (
        "The fewest clients whose sum may be opened, and how many in league with the server the plan must "
        "withstand.",
        {"min_survivors": policy.min_survivors, "max_colluders": policy.max_colluders},
    )
    cap = "; the cap of this node's own ledger" if policy.role == "client" else ""
    yield (
        f"What all rounds of a run may cost at most{cap}, and for whom (record, client): an epsilon for each "
        "client covers all of its records, one for each record a single one.",
        {"max_epsilon": policy.max_epsilon, "delta": policy.delta, "units": policy.units},
    )
    yield (
        "How updates may be summed (masked, ckks, shared-key, plain), and who may add the noise (local, "
        "distributed, central).  plain hides no update from the server, and central no sum; with shared-key "
        "any one client and the server open every update.",
        {"aggregators": policy.aggregators, "trust": policy.trust},
    )
    if policy.allow_semi_honest:
        yield (
            "The planned sum protects only from a server that follows the protocol; without this line the "
            "node takes no part.",
            {"allow_semi_honest": True},
        )
    if policy.allow_insecure_seed:
        yield (
            "INSECURE: the noise of this run follows from privacy.insecure_seed, and protects nothing.",
            {"allow_insecure_seed": True},
        )


def _settings(settings: ServerSettings) -> Iterator[_Paragraph]:
    yield (
        "What the server has for itself.  Paths count from the folder of this file.",
        {"roster": settings.roster, "authority": settings.authority},
    )
    yield "Held-out data, on which the model is measured.", {"test": settings.test}
    yield (
        "Where the clients' data are accounted, the same for every run of theirs.  The key that signs it "
        "lies beside it; back both up.",
        {"ledger": settings.ledger},
    )
    yield "The run's folder: checkpoint, evidence, report, adapter.", {"run": settings.run}
    if settings.model:
        yield "The base model, in place of the configuration's model.id.", {"model": settings.model}
    yield (
        "Seconds after which a node is given up: without and with training, and until all nodes are there.",
        {
            "timeout": settings.timeout,
            "training_timeout": settings.training_timeout,
            "start_timeout": settings.start_timeout,
        },
    )


def _text(paragraphs: Iterator[_Paragraph]) -> str:
    """Each paragraph as a comment and the fields that are set."""
    return "\n".join(
        "".join(f"# {line}\n" for line in wrap(comment, _WIDTH, break_on_hyphens=False))
        + write_toml({name: _plain(value) for name, value in fields.items() if value is not None})
        for comment, fields in paragraphs
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return value.hex() if isinstance(value, bytes) else value
