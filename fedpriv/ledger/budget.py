"""When the budget of a data set admits a plan or a round, and what was spent (protocols/ledger/spec.md, 6).

Two rules, and which one holds is settled by numbers that were fixed before anything was released:

* *committed-plan PLD*: while one plan is all that counts on the data set, its rounds were fixed in advance,
  so the tight composition of all of them is a valid bound, and it is checked once, at PLAN.
* *RDP filter*: once a second plan is admitted, its parameters may depend on what the first one released.
  Then the Rényi filter of Feldman & Zrnic (arXiv 2008.11193) bounds every reserved round, checked at each
  RESERVE.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from fedpriv.dp import Counted, Event, epsilon_pld, epsilon_rdp
from fedpriv.errors import BudgetExceeded, UnsafeParameters, UsageError
from fedpriv.ledger.body import RULE_PLD, RULE_RDP
from fedpriv.ledger.chain import Budget, Chain, RoundState, Run
from fedpriv.ledger.order import best_order, filter_epsilon, largest_budget

__all__ = ["Admission", "RunCost", "Spent", "admit_plan", "admit_reserve", "check_budget", "spent", "warm"]


@dataclass(frozen=True, slots=True)
class Admission:
    """Why a plan was admitted: the rule, and the ε that it gives once the plan's rounds are all used."""

    rule: str
    epsilon: float


@dataclass(frozen=True, slots=True)
class RunCost:
    """What one run spent by itself: ``rounds`` counted of those planned, and their ε by both engines."""

    run_id: str
    rounds: int
    epsilon_rdp: float
    epsilon_pld: float
    planned_epsilon: float


@dataclass(frozen=True, slots=True)
class Spent:
    """What a data set has lost at its ``delta``, against its ``budget`` (an ε).

    ``epsilon_rdp`` and ``epsilon_pld`` are the two engines' figures for the counted rounds (reserved and not
    voided); ``epsilon_filter`` is the RDP one at the order that the first plan fixed.  ``planned_epsilon`` is
    what it comes to when every open run uses all rounds of its plan.  ``reserved`` counts the rounds ever
    reserved, of which ``released`` gave a sum and ``voided`` were taken back; the others are pending.
    """

    dataset: str
    budget: float
    delta: float
    rule: str
    epsilon_rdp: float
    epsilon_pld: float
    epsilon_filter: float
    planned_epsilon: float
    reserved: int
    released: int
    voided: int
    runs: tuple[RunCost, ...]

    @property
    def pending(self) -> int:
        """Rounds that nobody ended: they count."""
        return self.reserved - self.released - self.voided

    @property
    def epsilon(self) -> float:
        """The spent ε, by ``rule``.

        While one plan is all that counts, a run stopped because of its results has ``planned_epsilon`` as its
        bound; for one that used all its rounds, or was stopped by an accident, the two are one (spec 6.5).
        """
        return self.epsilon_pld if self.rule == RULE_PLD else self.epsilon_filter


def warm(event: Event, rounds: int, delta: float) -> None:
    """Compute and keep what `admit_plan` will need, so that it is quick while a lock is held."""
    _pld(((event, rounds),), delta)


def admit_plan(chain: Chain, event: Event, rounds: int) -> Admission:
    """Decide on a plan (spec 6.2).

    Raises:
        BudgetExceeded: with the ε that was asked, spent and allowed.
        UsageError: the data set has no budget.
    """
    budget = _budget(chain)
    asked = ((event, rounds),)
    if chain.unused():
        after = _pld(asked, budget.delta)
        if after <= budget.epsilon:
            return Admission(RULE_PLD, after)
        raise BudgetExceeded(
            f"The plan of {rounds} rounds costs epsilon = {_show(after)}; nothing is spent of the budget of "
            f"{_name(budget)}, which allows {_show(budget.epsilon)} at delta = {budget.delta!r}.",
            hint="Plan fewer rounds, more noise or a smaller sampling rate, or raise the budget.",
        )
    if not chain.shared:
        _check_first_plan(chain, budget)
    before, after = _filter(chain, ()), _filter(chain, asked)
    if after <= budget.epsilon:
        return Admission(RULE_RDP, after)
    raise BudgetExceeded(
        f"The plan of {rounds} rounds would bring {_name(budget)} to epsilon = {_show(after)}; "
        f"{_show(before)} is spent and {_show(budget.epsilon)} allowed at delta = {budget.delta!r}.",
        hint="Plan fewer rounds, more noise or a smaller sampling rate, or raise the budget.",
    )


def admit_reserve(chain: Chain, run: Run) -> None:
    """Decide on one more round of an open run (spec 6.3); no PLD is computed.

    Raises:
        BudgetExceeded: the plan's rounds are used up, or the budget does not allow one more round.
    """
    if run.counted >= run.rounds:
        raise BudgetExceeded(
            f"The run {run.run_id} committed to {run.rounds} rounds and has reserved all of them.",
            hint="Finish the run; more rounds need a new plan.",
        )
    budget = _budget(chain)
    if not chain.shared and run.epsilon <= budget.epsilon:
        return
    after = _filter_of(chain, tuple(chain.counted({run.run_id: 1})))
    if after > budget.epsilon:
        raise BudgetExceeded(
            f"One more round of run {run.run_id} would bring {_name(budget)} to epsilon = {_show(after)}; "
            f"{_show(_filter(chain, ()))} is spent and {_show(budget.epsilon)} allowed at delta = "
            f"{budget.delta!r}.",
            hint="Finish the run with the rounds it has, or raise the budget.",
        )


def check_budget(chain: Chain, epsilon: float, delta: float) -> None:
    """Refuse a budget of a shared data set that the filter could not keep: no round would be admitted.

    Raises:
        UsageError: with the largest that it can keep.
    """
    largest = largest_budget(chain.counted(), delta=delta) if chain.shared else float("inf")
    if epsilon > largest:
        raise UsageError(
            f"Several plans share the data set {chain.dataset[:12]}…, and the integer noise of its rounds is "
            f"too coarse for a budget of epsilon = {_show(epsilon)}.",
            hint=f"Set at most {_floor(largest)}, or declare a version of the data.",
        )


def spent(chain: Chain) -> Spent:
    """Recompute what the counted rounds of a chain cost.

    Raises:
        UsageError: the data set has no budget.
    """
    budget = _budget(chain)
    delta = budget.delta
    counted = tuple(chain.counted())
    costs = tuple(_cost(run, delta) for run in chain.runs.values())
    filtered = _filter(chain, ())
    if chain.shared:
        rule = RULE_RDP
        rest = {run.run_id: run.rounds - run.counted for run in chain.runs.values() if not run.finished}
        planned = _filter_of(chain, tuple(chain.counted(rest)))
    else:
        rule = RULE_PLD
        planned = max(
            (run.epsilon for run in chain.runs.values() if run.counted or not run.finished), default=0.0
        )
    states = [state for run in chain.runs.values() for state in run.states.values()]
    return Spent(
        dataset=chain.dataset,
        budget=budget.epsilon,
        delta=delta,
        rule=rule,
        epsilon_rdp=_rdp(counted, delta),
        epsilon_pld=_pld(counted, delta),
        epsilon_filter=filtered,
        planned_epsilon=planned,
        reserved=len(states),
        released=states.count(RoundState.RELEASED),
        voided=states.count(RoundState.VOIDED),
        runs=costs,
    )


def _check_first_plan(chain: Chain, budget: Budget) -> None:
    """Refuse a second plan unless the first fits the filter with all its rounds, used or not (spec 6.2)."""
    assert chain.anchor is not None  # noqa: S101 -- a chain that is in use has one
    first = chain.runs[chain.anchor]
    whole = _filter_of(chain, ((first.event, first.rounds),))
    if whole == float("inf"):
        largest = largest_budget(((first.event, first.rounds),), delta=budget.delta)
        raise BudgetExceeded(
            f"No other plan may follow that of run {first.run_id} under a budget of epsilon = "
            f"{_show(budget.epsilon)}: its integer noise is too coarse for that much.",
            hint=(f"Set the budget to {_floor(largest)} at most, or declare" if largest > 0.0 else "Declare")
            + " a version of the data with a budget of its own.",
        )
    if whole > budget.epsilon:
        raise BudgetExceeded(
            f"The plan of run {first.run_id} takes the whole budget of {_name(budget)}: its {first.rounds} "
            f"rounds cost epsilon = {_show(first.epsilon)} as the only plan, but {_show(whole)} where "
            f"another may follow, and {_show(budget.epsilon)} is allowed at delta = {budget.delta!r}.",
            hint="Raise the budget."
            if first.finished
            else f"Raise the budget, or resume run {first.run_id}; if it never reserved a round, finish it.",
        )


def _filter(chain: Chain, further: Counted) -> float:
    """The ε of the RDP filter after all counted rounds and ``further`` ones."""
    return _filter_of(chain, (*chain.counted(), *further))


def _filter_of(chain: Chain, counted: Counted) -> float:
    """The ε of the RDP filter after ``counted``, at the order that the first plan fixed (spec 6.3)."""
    if chain.anchor is None:
        return 0.0
    budget = _budget(chain)
    order = best_order(chain.runs[chain.anchor].event, chain.anchor_epsilon, budget.delta)
    return filter_epsilon(order, counted, budget=budget.epsilon, delta=budget.delta)


@lru_cache(maxsize=256)
def _pld(counted: tuple[tuple[Event, int], ...], delta: float) -> float:
    """`epsilon_pld`, kept: it takes tenths of a second and is asked again for the same events."""
    return epsilon_pld(counted, delta)


def _rdp(counted: Counted, delta: float) -> float:
    """`epsilon_rdp`; infinite where integer noise is too coarse for any."""
    try:
        return epsilon_rdp(counted, delta)
    except UnsafeParameters:
        return float("inf")


def _cost(run: Run, delta: float) -> RunCost:
    counted = ((run.event, run.counted),)
    return RunCost(
        run_id=run.run_id,
        rounds=run.counted,
        epsilon_rdp=_rdp(counted, delta),
        epsilon_pld=_pld(counted, delta) if run.counted else 0.0,
        planned_epsilon=_pld(((run.event, run.rounds),), delta),
    )


def _budget(chain: Chain) -> Budget:
    if chain.budget is None:
        raise UsageError(
            f"The data set {chain.dataset} has no privacy budget.",
            hint="Set one before planning a run on it.",
        )
    return chain.budget


def _floor(epsilon: float) -> str:
    """An ε that may be set: rounded down."""
    return f"{math.floor(1000.0 * epsilon) / 1000.0:g}"


def _name(budget: Budget) -> str:
    return f'data set "{budget.name}" ({budget.dataset[:12]}…)'


def _show(epsilon: float) -> str:
    """An ε for a message, with enough digits that two different ones look different."""
    return f"{epsilon:.6g}"
