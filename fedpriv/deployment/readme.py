"""The page that says what lies in the folder of a deployment, who keeps it, and the exact commands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fedpriv.deployment.agreement import Agreement
from fedpriv.federation.config import Config
from fedpriv.keystore import Roster

__all__ = ["readme"]

_TABLE = tuple[str, str, str]


def readme(config: Config, agreement: Agreement, nodes: Sequence[str], *, roster: Roster, made: bool) -> str:
    """``README.md`` of a deployment.

    Args:
        config, agreement: what was agreed on.
        nodes: names of the folders in ``nodes/``.
        roster: the clients, in the order of their numbers.
        made: records and keys of all parties were made here, to try the deployment out.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("fedpriv.deployment", "templates"),
        autoescape=False,  # noqa: S701 - Markdown, and nothing in it comes from others
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    compared = [("roster", roster.fingerprint), ("server's ledger", agreement.server.hex())]
    if agreement.authority is not None:
        compared.append(("key authority", agreement.authority.hex()))
    return environment.get_template("README.md.j2").render(
        name=agreement.name,
        folders=list(_folders(nodes, roster, made=made)),
        compared=compared,
        nodes=nodes,
        made=made,
        text=config.data.text,
        label=config.data.label,
    )


def _folders(nodes: Sequence[str], roster: Roster, *, made: bool) -> Iterator[_TABLE]:
    """What lies where, and who keeps it."""
    yield "roster.toml", "who takes part", "everybody"
    run = "the run: configuration, agreement and plan; nothing secret"
    yield "app/", run, "whoever starts the run; Flower hands it to the nodes"
    yield "server/", "settings, held-out data, the ledger and its key", "whoever runs the SuperLink"
    for node in nodes:
        is_client = node != "authority"
        own = (", identity and records" if is_client else " and identity") if made else ""
        keeper = f"client {node}, {roster.names[int(node)]}," if is_client else "the key authority"
        yield f"nodes/{node}/", f"policy{own}", f"{keeper} alone"
    if made:
        keys = "a certificate for this machine, and a key for each node by which the SuperLink knows it"
        yield "tls/", keys, "the process that a command names it to"
