"""A run directory, read and checked for shape: the only input of a report and of a verification."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.report.encryption import Encryption

__all__ = ["RUN_FORMAT", "RunDirectory"]

RUN_FORMAT = "fedpriv-run/1"

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

    ``result`` is ``None`` for a run that was interrupted before it wrote one.
    """

    path: Path
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
        run = _object(path / "run.json", _RUN)
        if run.get("format") != RUN_FORMAT:
            raise IntegrityError(
                f"run.json has format {run.get('format')!r}, not {RUN_FORMAT!r}",
                hint="use the version of fedpriv that wrote this run",
            )
        _require(run["dataset"], _DATASET, "run.json, dataset")
        plan = _object(path / "plan.json", _PLAN)
        for position, adversary in enumerate(plan["adversaries"]):
            _require(adversary, _ADVERSARY, f"plan.json, adversaries[{position}]")
        levels = plan.get("levels", [])  # plans of before there were any have none
        if not isinstance(levels, list) or not _counts(levels):
            raise IntegrityError("plan.json: 'levels' are not numbers of survivors")
        _check_people(plan)
        Encryption.of(plan)
        result = _object(path / "result.json", _RESULT) if (path / "result.json").is_file() else None
        return cls(
            path=path,
            config=_text(path / "config.toml"),
            run=run,
            plan=plan,
            rounds=_rounds(path / "rounds.jsonl"),
            result=result,
            ledger=_object(path / "ledger.json", {}),
        )

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


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise IntegrityError(
            f"{path.name} is missing from the run directory",
            hint="an interrupted run goes on with `fedpriv run --resume`; a deleted file cannot be rebuilt",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{path.name} cannot be read: {error}") from None


def _object(path: Path, shape: _Shape) -> dict[str, Any]:
    try:
        value = json.loads(_text(path), parse_constant=_refuse_constant)
    except ValueError as error:
        raise IntegrityError(f"{path.name} is not valid JSON: {error}") from None
    _require(value, shape, path.name)
    checked: dict[str, Any] = value
    return checked


def _rounds(path: Path) -> tuple[dict[str, Any], ...]:
    if not path.exists():
        return ()
    rounds = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        try:
            value = json.loads(line, parse_constant=_refuse_constant)
        except ValueError as error:
            raise IntegrityError(f"rounds.jsonl, line {number} is not valid JSON: {error}") from None
        _require(value, _ROUND, f"rounds.jsonl, line {number}")
        if not _counts(value["survivors"]) or not all(_drop(entry) for entry in value["dropped"]):
            raise IntegrityError(
                f"rounds.jsonl, line {number}: survivors and dropped clients are not well formed"
            )
        rounds.append(value)
    return tuple(rounds)


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


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")
