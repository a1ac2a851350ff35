"""A run directory, read and checked for shape: the only input of a report and of a verification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fedpriv.crypto.strict_json import parse
from fedpriv.errors import DecodeError, IntegrityError, UsageError
from fedpriv.report.adapter_files import AdapterFiles
from fedpriv.report.encryption import Encryption

__all__ = ["EVIDENCE", "NEEDED", "RUN_FORMAT", "RunDirectory"]

RUN_FORMAT = "fedpriv-run/1"

NEEDED: Final = ("config.toml", "run.json", "plan.json", "ledger.json")
"""Files without which there is nothing to verify."""

EVIDENCE: Final = (
    *NEEDED,
    "rounds.jsonl",
    "result.json",
    "checkpoints.jsonl",
    "audit.json",
    "report.json",
)
"""All files that a verification reads, but for the page and the adapter: the closed set of a bundle."""

_PAGE: Final = "report.html"

_MOST_CLIENTS = 100_000
_MOST_RECORDS = 1000
_NUMBER = (int, float)
_OPTIONAL_NUMBER = (int, float, type(None))
_Shape = Mapping[str, type | tuple[type, ...]]

_RUN: _Shape = {
    "run_id": str,
    "name": str,
    "fedpriv_version": str,
    "started": str,
    "finished": (str, type(None)),
    "config_digest": str,
    "dataset": dict,
    "model": dict,
    "peft": dict,
    "versions": dict,
    "server_key": str,
    "roster": dict,
    "insecure_seed": (int, type(None)),
}
_DATASET: _Shape = {
    "fingerprint": str,
    "name": str,
    "records_declared": int,
    "label_names": list,
    "left_out": dict,
    "disjointness": str,
}
_PLAN: _Shape = {
    "unit": str,
    "trust": str,
    "aggregator": str,
    "epsilon": _NUMBER,
    "delta": _NUMBER,
    "clip": _NUMBER,
    "noise_multiplier": _NUMBER,
    "sampling_rate": _NUMBER,
    "rounds": int,
    "expected_batch": _NUMBER,
    "clients": int,
    "min_survivors": int,
    "max_colluders": int,
    "threshold": int,
    "bits": int,
    "scale_log2": int,
    "sensitivity": int,
    "dimension": int,
    "share_variance": str,
    "server_variance": str,
    "client_bound": (int, str),
    "epsilon_pld": _NUMBER,
    "epsilon_rdp": _NUMBER,
    "relation": str,
    "bytes_per_client_round": int,
    "masks_per_client": int,
    "guarantee": str,
    "adversaries": list,
    "event": dict,
    "tv_slack": _NUMBER,
}
_ADVERSARY: _Shape = {
    "adversary": str,
    "description": str,
    "event": (dict, type(None)),
    "epsilon_pld": _OPTIONAL_NUMBER,
}
_ROUND: _Shape = {
    "round": int,
    "survivors": list,
    "dropped": list,
    "realised_multiplier": _NUMBER,
    "epsilon_rdp": _NUMBER,
    "accuracy": _OPTIONAL_NUMBER,
    "seconds": _NUMBER,
    "bytes_per_client": int,
    "aggregate_digest": str,
}
_RESULT: _Shape = {
    "accuracy": _OPTIONAL_NUMBER,
    "base_accuracy": _OPTIONAL_NUMBER,
    "majority": _OPTIONAL_NUMBER,
    "epsilon_pld_spent": _NUMBER,
    "epsilon_rdp_spent": _NUMBER,
    "epsilon_planned": _NUMBER,
    "rounds_done": int,
    "rounds_planned": int,
    "accesses_not_accounted": list,
    "adapter_digest": (str, type(None)),
    "finished": bool,
}


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """What a run left behind, parsed; nothing in it is believed yet (that is :func:`~fedpriv.report.verify`).

    ``path`` is the directory, or the bundle that the same files came in.  ``files`` holds the content of each
    by its name, as it was read, for digests and for what is parsed elsewhere.  ``adapter`` is ``None`` where
    its folder is missing, ``result`` for a run that was interrupted before it wrote one.
    """

    path: Path
    files: Mapping[str, bytes]
    adapter: AdapterFiles | None
    config: str
    run: dict[str, Any]
    plan: dict[str, Any]
    rounds: tuple[dict[str, Any], ...]
    result: dict[str, Any] | None
    ledger: dict[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """Read ``path``; :class:`UsageError` where it is no run directory, :class:`IntegrityError` where a
        file is missing a part or is not what it should be (the file and the key are named)."""
        path = Path(path)
        if not path.is_dir():
            raise UsageError(
                f"there is no run directory at {path}", hint="give the directory that `fedpriv run` printed"
            )
        if not (path / "run.json").is_file():
            raise UsageError(
                f"{path} is not a run directory: it has no run.json",
                hint="give the directory that `fedpriv run` printed, not the one above or below it",
            )
        files = {name: _read(path / name) for name in (*EVIDENCE, _PAGE) if (path / name).is_file()}
        folder = path / "adapter"
        return cls.of(path, files, AdapterFiles.of(folder) if folder.is_dir() else None)

    @classmethod
    def of(cls, path: Path, files: Mapping[str, bytes], adapter: AdapterFiles | None) -> RunDirectory:
        """Parse files that were read before; :class:`IntegrityError` as in :meth:`open`."""
        for name in NEEDED:
            if name not in files:
                raise IntegrityError(
                    f"{name} is missing from the run directory",
                    hint="an interrupted run goes on with `fedpriv run --resume`; "
                    "a deleted file cannot be rebuilt",
                )
        run = _object(files, "run.json", _RUN)
        if run.get("format") != RUN_FORMAT:
            raise IntegrityError(
                f"run.json has format {run.get('format')!r}, not {RUN_FORMAT!r}",
                hint="use the version of fedpriv that wrote this run",
            )
        _require(run["dataset"], _DATASET, "run.json, dataset")
        plan = _object(files, "plan.json", _PLAN)
        for position, adversary in enumerate(plan["adversaries"]):
            _require(adversary, _ADVERSARY, f"plan.json, adversaries[{position}]")
        levels = plan.get("levels", [])  # plans of before there were any have none
        if not isinstance(levels, list) or not _counts(levels):
            raise IntegrityError("plan.json: 'levels' are not numbers of survivors")
        _check_people(plan)
        Encryption.of(plan)
        return cls(
            path=path,
            files=files,
            adapter=adapter,
            config=_text(files, "config.toml"),
            run=run,
            plan=plan,
            rounds=_rounds(files),
            result=_object(files, "result.json", _RESULT) if "result.json" in files else None,
            ledger=_object(files, "ledger.json", {}),
        )

    @property
    def row_hashes(self) -> list[object]:
        """What each row of the ledger says its hash is, in their order; ``None`` for what is no row."""
        rows = self.ledger.get("rows")
        return [
            row.get("hash") if isinstance(row, dict) else None
            for row in (rows if isinstance(rows, list) else ())
        ]

    @property
    def finished(self) -> bool:
        """Whether the run says that it reached its end."""
        return bool(self.result and self.result["finished"])


def _check_people(plan: dict[str, Any]) -> None:
    """What a plan says of people and of a large ε; plans of before it was asked say nothing."""
    for key in ("clients", "clients_in_all"):
        number = plan.get(key, 1)
        if type(number) is not int or not 1 <= number <= _MOST_CLIENTS:
            raise IntegrityError(f"plan.json: {key!r} is not a number from 1 to {_MOST_CLIENTS}")
    records = plan.get("person_records", 1)
    if type(records) is not int or not 1 <= records <= _MOST_RECORDS:
        raise IntegrityError(f"plan.json: 'person_records' is not a number from 1 to {_MOST_RECORDS}")
    if plan.get("disjointness", "unknown") not in ("asserted", "unknown"):
        raise IntegrityError("plan.json: 'disjointness' is neither 'asserted' nor 'unknown'")
    if type(plan.get("allow_large_epsilon", False)) is not bool:
        raise IntegrityError("plan.json: 'allow_large_epsilon' is neither true nor false")
    for key in ("epsilon_person", "epsilon_everywhere"):
        if not isinstance(plan.get(key), _OPTIONAL_NUMBER) or isinstance(plan.get(key), bool):
            raise IntegrityError(f"plan.json: {key!r} has the wrong type")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise IntegrityError(f"{path.name} cannot be read: {error.strerror}") from None


def _text(files: Mapping[str, bytes], name: str) -> str:
    try:
        return files[name].decode("utf-8")
    except UnicodeDecodeError as error:
        raise IntegrityError(f"{name} cannot be read: {error}") from None


def _object(files: Mapping[str, bytes], name: str, shape: _Shape) -> dict[str, Any]:
    return _shaped(_text(files, name), shape, name)


def _rounds(files: Mapping[str, bytes]) -> tuple[dict[str, Any], ...]:
    if "rounds.jsonl" not in files:
        return ()
    rounds = []
    for number, line in enumerate(_text(files, "rounds.jsonl").splitlines(), start=1):
        where = f"rounds.jsonl, line {number}"
        value = _shaped(line, _ROUND, where)
        if not _counts(value["survivors"]) or not all(_drop(entry) for entry in value["dropped"]):
            raise IntegrityError(f"{where}: survivors and dropped clients are not well formed")
        rounds.append(value)
    return tuple(rounds)


def _shaped(text: str, shape: _Shape, where: str) -> dict[str, Any]:
    try:
        value = parse(text)
    except DecodeError as error:
        raise IntegrityError(f"{where} is not valid JSON: {error}") from None
    _require(value, shape, where)
    checked: dict[str, Any] = value
    return checked


def _require(value: object, shape: _Shape, where: str) -> None:
    if not isinstance(value, dict):
        raise IntegrityError(f"{where} is not a JSON object")
    for key, kinds in shape.items():
        if key not in value:
            raise IntegrityError(f"{where} has no {key!r}")
        if not isinstance(value[key], kinds) or (isinstance(value[key], bool) and kinds is not bool):
            raise IntegrityError(f"{where}: {key!r} has the wrong type ({type(value[key]).__name__})")


def _counts(values: list[object]) -> bool:
    return all(type(value) is int and value >= 0 for value in values)


def _drop(entry: object) -> bool:
    """Whether ``entry`` is a pair of a client and the stage at which it vanished."""
    return isinstance(entry, list) and len(entry) == 2 and _counts(entry[:1]) and isinstance(entry[1], str)
