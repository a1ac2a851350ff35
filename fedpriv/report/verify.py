"""Verification of a run: everything that can be recomputed is, and each disagreement is named.

The ledger's signed rows are the root: they are checked first (:func:`fedpriv.ledger.verify_bundle`), and the
other files are then held against them.  ``protocols/report/spec.md`` lists the checks by number;
:mod:`fedpriv.report.checks` has one file for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fedpriv import dp
from fedpriv.errors import FedprivError
from fedpriv.report import bundle
from fedpriv.report.audited import audit_checks
from fedpriv.report.check import Check, Verification
from fedpriv.report.checks.adapter import adapter_checks
from fedpriv.report.checks.checkpoints import checkpoint_checks
from fedpriv.report.checks.derivation import Derivation
from fedpriv.report.checks.envelope import envelope_check, open_ends
from fedpriv.report.checks.epsilons import epsilon_checks
from fedpriv.report.checks.ledger import ledger_checks
from fedpriv.report.checks.outside import Outside
from fedpriv.report.checks.plan import plan_checks
from fedpriv.report.checks.report import report_checks
from fedpriv.report.checks.result import result_checks
from fedpriv.report.checks.rounds import round_checks
from fedpriv.report.figures import Figures, at_realised_noise, recompute
from fedpriv.report.history import History
from fedpriv.report.people import people
from fedpriv.report.rundir import RunDirectory

__all__ = ["Findings", "all_checks", "examine", "verify"]


@dataclass(frozen=True, slots=True)
class Findings:
    """A run directory, what its ledger says, every ε recomputed, and the checks of all of it but the report.

    ``figures`` is ``None`` where the ledger holds too little to recompute anything.
    """

    rundir: RunDirectory
    history: History
    figures: Figures | None
    checks: tuple[Check, ...]


def verify(
    source: str | Path,
    *,
    signer: str | None = None,
    head: str | None = None,
    adapter: str | Path | None = None,
) -> Verification:
    """Check a run against its ledger: chain, signatures, plan, rounds, every ε, adapter, report.

    Needs no network, no model and no trust in who hands it in; takes a few seconds, most of them for ε.

    Args:
        source: a run directory, or a bundle (:mod:`fedpriv.report.bundle`) of one.
        signer: the public key of the ledger as known from elsewhere, in hex.  Without it the files are found
            to agree with a key that they name themselves.
        head: the hash of a row as known from elsewhere, in hex: the chain must still hold it.
        adapter: the folder of the adapter in use, which must be the run's.

    Raises:
        UsageError: ``source`` is neither, or another argument cannot be what it is called.
        IntegrityError: a file of the run is missing or unreadable (it is named).
        DecodeError: a bundle is not one.
    """
    source, outside = Path(source), Outside.of(signer, head, adapter)
    if source.is_file():
        return _verify_bundle(source, outside)
    rundir = RunDirectory.open(source)
    return Verification(tuple(_checks(rundir, outside)), rundir.finished)


def examine(rundir: RunDirectory, *, curve: bool = True) -> Findings:
    """All checks but those of the report itself, which holds their outcome.

    ``curve`` computes what only a report needs: the tight ε by round and at other δ.
    """
    history = History.of(rundir.ledger, rundir.run["run_id"])
    checks = list(ledger_checks(rundir, history))
    figures = None
    try:
        derived = Derivation.of(rundir.plan)
        checks += plan_checks(rundir, history, derived)
        checks += round_checks(rundir, history, derived.noise)
        figures = _figures(rundir, history, derived, curve=curve)
        checks += epsilon_checks(rundir, history, figures)
    except FedprivError as error:
        checks.append(Check("ε recomputed", "ledger.json, plan.json", "failed", str(error)))
    except Exception as error:
        # Values that no accountant can price: a verifier answers, whatever it is given.
        what = f"it cannot be recomputed from these values ({type(error).__name__})"
        checks.append(Check("ε recomputed", "ledger.json, plan.json", "failed", what))
    checks += result_checks(rundir, history)
    checks += adapter_checks(rundir, history)
    checks += checkpoint_checks(rundir, history)
    checks += audit_checks(rundir, history)
    return Findings(rundir, history, figures, tuple(checks))


def _checks(rundir: RunDirectory, outside: Outside) -> Iterator[Check]:
    """All of them, in the order in which they are shown."""
    found = examine(rundir, curve="report.json" in rundir.files)
    yield from outside.checks(rundir, found.history)
    yield from all_checks(found)


def all_checks(found: Findings) -> Iterator[Check]:
    """Those of ``found``, and those of the report itself; where there is one, its curves must be in them."""
    yield from found.checks
    yield from report_checks(found.rundir, found.history, found.figures, found.checks)


def _figures(rundir: RunDirectory, history: History, derived: Derivation, *, curve: bool) -> Figures:
    plan = rundir.plan
    epsilon, delta = float(plan["epsilon"]), float(plan["delta"])
    figures = recompute(
        history.event,
        planned=history.planned,
        spent=history.spent,
        delta=delta,
        against=derived.against,
        curve=curve,
    )
    figures = replace(figures, people=people(rundir, history, full=curve))
    if not curve:
        return figures
    planned = float(plan["noise_multiplier"])
    ratios = [line["realised_multiplier"] / planned for line in rundir.rounds]
    return replace(
        figures,
        frontier=dp.frontier_around(history.event, history.planned, epsilon, delta),
        realised=at_realised_noise(history.event, ratios, spent=history.spent, delta=delta),
    )


def _verify_bundle(path: Path, outside: Outside) -> Verification:
    """Where no signature holds, that is all that is said.

    A signer known from elsewhere is looked for before the payload is parsed.  Without one the key stands in
    the payload, and that its signature holds shows only that nobody changed the bundle who lacks the key.
    """
    envelope, known = bundle.read(path), outside.signer
    if known is not None:
        signed = envelope_check(path.name, envelope, known, whose="the given key")
        if signed.status == "failed":
            return Verification((signed,), finished=False)
    rundir = bundle.unpack(envelope, path)
    key = rundir.run["server_key"]
    signed = envelope_check(path.name, envelope, key, whose="the key in run.json")
    if signed.status == "failed":
        return Verification((signed,), finished=False)
    notes = open_ends(key, signer_known=known is not None, adapter_known=outside.adapter is not None)
    return Verification((signed, *notes, *_checks(rundir, outside)), rundir.finished)
