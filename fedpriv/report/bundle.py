"""The portable bundle, ``evidence.dsse.json``: a run's evidence in one signed file.

``protocols/report/spec.md``, section 7, says what stands in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fedpriv.crypto import SigningKey, dsse
from fedpriv.errors import DecodeError, IntegrityError, UsageError
from fedpriv.local_file import USUAL, replace_file
from fedpriv.report.history import History
from fedpriv.report.rundir import EVIDENCE, RunDirectory
from fedpriv.report.statement import PAYLOAD_TYPE, Statement

__all__ = ["NAME", "is_stale", "read", "unpack", "write"]

NAME: Final = "evidence.dsse.json"

_MOST_BYTES: Final = 2**26
_HINT: Final = f"give a run directory, or its {NAME} as it was written"


def write(run_dir: str | Path, signer: SigningKey) -> Path:
    """Write the bundle of a finished run into ``run_dir``, signed by the key that signed its ledger.

    Args:
        run_dir: the run's directory; a bundle that is there already is replaced.
        signer: the key of the run's ledger.

    Returns:
        the bundle's path.

    Raises:
        UsageError: no run directory, a run that is not finished, another key than the ledger's, or a place
            that cannot be written.
        IntegrityError: a file is missing or damaged, or the adapter is not the one that the ledger names.
    """
    rundir = RunDirectory.open(run_dir)
    finish = History.of(rundir.ledger, rundir.run["run_id"]).finish
    if finish is None or rundir.adapter is None:
        raise UsageError(
            "a run that is not finished has no adapter for its evidence to speak of",
            hint="go on with it by `fedpriv run --resume`; until then `fedpriv verify` reads its folder",
        )
    if signer.public.hex() != rundir.run["server_key"]:
        raise UsageError(
            "the run's ledger was signed by another key than the one that is here",
            hint="write the bundle where the run's ledger is: set FEDPRIV_HOME or [budget] ledger to it",
        )
    if rundir.adapter.digest != finish.details.get("adapter"):
        raise IntegrityError(f"the adapter is not the one that {finish.name} names")
    evidence = {name: rundir.files[name] for name in EVIDENCE if name in rundir.files}
    text = dsse.sign(signer, PAYLOAD_TYPE, Statement(evidence, rundir.adapter).encode()).encode()
    if len(text) > _MOST_BYTES:
        raise UsageError(
            f"the bundle would have {len(text):,} bytes; readers take {_MOST_BYTES:,}",
            hint="hand over the run's folder instead",
        )
    path = rundir.path / NAME
    replace_file(path, text, what="bundle", mode=USUAL)
    return path


def is_stale(run_dir: str | Path) -> bool:
    """Whether a bundle lies in ``run_dir`` that holds other files than the directory does by now."""
    path = Path(run_dir) / NAME
    if not path.is_file():
        return False
    now = RunDirectory.open(run_dir)
    try:
        then = unpack(read(path), path)
    except (DecodeError, IntegrityError):  # what cannot be read holds nothing of now
        return True
    return any(now.files.get(name) != then.files.get(name) for name in EVIDENCE)


def read(path: Path) -> dsse.Envelope:
    """The envelope at ``path``, of which nothing is believed yet.

    Raises:
        UsageError: the file cannot be read.
        DecodeError: it is over 64 MiB, no envelope, or an envelope around something else.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint=_HINT) from None
    try:
        if len(data) > _MOST_BYTES:
            raise DecodeError(f"it has more than {_MOST_BYTES:,} bytes")
        envelope = dsse.decode(data)
        if envelope.payload_type != PAYLOAD_TYPE:
            raise DecodeError(f"its envelope holds {envelope.payload_type[:80]!r}, not {PAYLOAD_TYPE!r}")
    except DecodeError as error:
        raise DecodeError(f"{path.name} is not a bundle: {error}", hint=_HINT) from None
    return envelope


def unpack(envelope: dsse.Envelope, path: Path) -> RunDirectory:
    """The run's files in an envelope, parsed as those of a run directory.

    Raises:
        DecodeError: the payload is not the statement of a bundle.
        IntegrityError: a file in it is not what it should be (the file and the key are named).
    """
    try:
        statement = Statement.decode(envelope.payload)
    except DecodeError as error:
        raise DecodeError(f"{path.name} is not a bundle: {error}", hint=_HINT) from None
    return RunDirectory.of(path, statement.files, statement.adapter)
