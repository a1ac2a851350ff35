"""Private federated fine-tuning: DP-SGD on PEFT parameters, secure aggregation, and a budget that is kept.

The names below are loaded when they are first used, so ``import fedpriv`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedpriv.federation.config import Config as Config
    from fedpriv.federation.config import load as load_config
    from fedpriv.federation.planning.make import make_plan as make_plan
    from fedpriv.federation.planning.plan import Plan as Plan
    from fedpriv.federation.run import run as run
    from fedpriv.private import Budget as Budget
    from fedpriv.private import make_private as make_private
    from fedpriv.report.verify import verify as verify
    from fedpriv.report.write import write as write_report
    from fedpriv.secagg import secure_sum as secure_sum
    from fedpriv.training.per_record import PerRecordGradients as PerRecordGradients

__all__ = [
    "Budget",
    "Config",
    "PerRecordGradients",
    "Plan",
    "load_config",
    "make_plan",
    "make_private",
    "run",
    "secure_sum",
    "verify",
    "write_report",
]

_HOMES = {
    "Budget": ("fedpriv.private", "Budget"),
    "Config": ("fedpriv.federation.config", "Config"),
    "PerRecordGradients": ("fedpriv.training.per_record", "PerRecordGradients"),
    "Plan": ("fedpriv.federation.planning.plan", "Plan"),
    "load_config": ("fedpriv.federation.config", "load"),
    "make_plan": ("fedpriv.federation.planning.make", "make_plan"),
    "make_private": ("fedpriv.private", "make_private"),
    "run": ("fedpriv.federation.run", "run"),
    "secure_sum": ("fedpriv.secagg", "secure_sum"),
    "verify": ("fedpriv.report", "verify"),
    "write_report": ("fedpriv.report", "write"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fedpriv' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    value = globals()[name] = getattr(import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
