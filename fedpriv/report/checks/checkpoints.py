"""Clause 4.13: what the clients signed of the ledger, and of rounds that were taken back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

from fedpriv.crypto import strict_json
from fedpriv.errors import DecodeError, FedprivError
from fedpriv.ledger import Checkpoint
from fedpriv.ledger.countersigned import CHECKPOINT_FILE, roster_digest, withdrawal_holds
from fedpriv.report.check import Check
from fedpriv.report.checks.agreement import each_fault, equal
from fedpriv.report.history import History
from fedpriv.report.rundir import RunDirectory
from fedpriv.report.wording import count

__all__ = ["CHECKPOINTS", "checkpoint_checks"]

CHECKPOINTS = "checkpoints.jsonl"
_AUTHORITY = "0"


def checkpoint_checks(rundir: RunDirectory, history: History) -> Iterator[Check]:
    """Countersigned heads against the chain and the clients' keys; withdrawals of every void."""
    committed = history.plan.details.get("clients") if history.plans else None
    content = rundir.files.get(CHECKPOINTS, b"")
    if committed is None:
        if content:
            what = (
                "the plan in the ledger names no clients that keep ledgers, and there are countersignatures"
            )
            yield Check("clients' ledgers", CHECKPOINTS, "failed", what)
        else:
            what = "the clients kept no ledgers of their own: nobody but its keeper vouches for this ledger"
            yield Check("clients' ledgers", "ledger.json", "note", what)
        return
    keys, name = _keys(rundir), "clients' ledgers"
    holds = f"it gives the digest of the clients' keys in {history.plan.name}"
    yield equal(name, "run.json, roster", roster_digest(keys), committed, holds)
    yield from _heads(rundir, history, keys, content)
    yield from _voids(history, keys, rundir)


def _heads(
    rundir: RunDirectory, history: History, keys: Mapping[int, bytes], content: bytes
) -> Iterator[Check]:
    hashes = rundir.row_hashes
    faults: list[tuple[str, str]] = []
    read: list[Checkpoint] = []
    lines = content.splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            found = Checkpoint.from_json(line)
        except FedprivError as error:
            faults.append((f"line {number}", str(error)))
            continue
        faults += ((f"line {number}", fault) for fault in _faults(found, rundir, history, hashes, keys))
        read.append(found)
    what = "no round was released"
    if read:
        last = read[-1]
        signed = {client for checkpoint in read for client in checkpoint.countersignatures}
        what = (
            f"{len(read)} heads of the ledger were countersigned, by {len(signed)} of {len(keys)} clients; "
            f"the last is row {last.head.seq}, signed by {len(last.countersignatures)}"
        )
    yield from each_fault("countersignatures", CHECKPOINTS, faults, what)
    missing = sorted(history.released.keys() - {checkpoint.round for checkpoint in read})
    if missing:
        named = ", ".join(map(str, missing))
        what = f"no client countersigned the ledger after round {named}: they were away, or the run stopped"
        yield Check("countersignatures", CHECKPOINTS, "note", what)
    if rundir.adapter is not None and history.finish is not None:
        # Also where no line is left: then the adapter must have none either.
        kept = sha256(_file(lines[-1])).hexdigest() if lines else None
        stated = rundir.adapter.digests.get(CHECKPOINT_FILE)
        what = "it is the last countersigned head of the run" if lines else "no head was countersigned"
        if stated == kept:
            yield Check("countersignatures", f"adapter/{CHECKPOINT_FILE}", "ok", what)
        else:
            what = f"it is not the last line of {CHECKPOINTS}"
            yield Check("countersignatures", f"adapter/{CHECKPOINT_FILE}", "failed", what)


def _faults(
    found: Checkpoint, rundir: RunDirectory, history: History, hashes: list[Any], keys: Mapping[int, bytes]
) -> Iterator[str]:
    head = found.head
    if head.dataset != history.dataset or head.signer.hex() != rundir.run["server_key"].lower():
        yield "it is of another data set or another server's ledger"
    if head.seq >= len(hashes) or hashes[head.seq] != head.hash.hex():
        yield f"the ledger does not hold row {head.seq} as it was signed: its end was cut off or rewritten"
    for client, (key, _) in found.countersignatures.items():
        if keys.get(client) != key:
            yield f"client {client} signed with a key that is not the roster's"
    yield from found.faults()


def _voids(history: History, keys: Mapping[int, bytes], rundir: RunDirectory) -> Iterator[Check]:
    faults = []
    for round_, row in sorted(history.voided.items()):
        evidence = row.body.get("evidence")
        given = evidence.get("withdrawals") if isinstance(evidence, dict) else None
        given = given if isinstance(given, dict) else {}
        reserve = history.reserved.get(round_)
        for client, key in sorted(keys.items()):
            try:
                word = bytes.fromhex(str(given.get(str(client), "")))
                named = {"dataset": history.dataset, "run": rundir.run["run_id"], "round": round_}
                holds = reserve is not None and withdrawal_holds(
                    key, word, **named, reserve=bytes.fromhex(reserve.hash)
                )
            except ValueError:
                holds = False
            if not holds:
                faults.append(
                    (row.name, f"round {round_} was taken back without the word of client {client}")
                )
    if history.voided:
        rounds = count(len(history.voided), "round")
        what = f"{rounds} taken back, each with the word of every client that it sent nothing"
        yield from each_fault("voids", "ledger.json", faults, what)


def _keys(rundir: RunDirectory) -> dict[int, bytes]:
    """The clients' public keys as run.json states them; what is no key is left out, and so is missed."""
    keys = {}
    for client, key in rundir.run["roster"].items():
        if client != _AUTHORITY and str(client).isdecimal() and len(str(client)) < 10:
            try:
                keys[int(client)] = bytes.fromhex(str(key))
            except ValueError:
                continue
    return keys


def _file(line: bytes) -> bytes:
    """A line as the adapter's file has it; what is no JSON was named before, and equals nothing."""
    try:
        return (json.dumps(strict_json.parse(line), indent=2) + "\n").encode()
    except DecodeError:
        return line
