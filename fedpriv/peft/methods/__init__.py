"""PEFT methods: which parameters are trained and sent, how they start, how their sums compose.

One small class a method, one file a kin: :mod:`.whole` (the model's own), :mod:`.lora` and what follows from
it (:mod:`.ro_lora`, :mod:`.fed_svd`, :mod:`.het_lora`, :mod:`.flasc`, :mod:`.fed_sa_lora`), :mod:`.fed_sb`,
:mod:`.adapter`, :mod:`.ia3`, :mod:`.prompts`; :mod:`.registry` has them by name.
"""

from __future__ import annotations

from fedpriv.peft.methods.method import Method, ServerState
from fedpriv.peft.methods.place import head_modules
from fedpriv.peft.methods.registry import METHODS, NEVER_EXACT, MethodName, method_called
from fedpriv.peft.methods.spec import PeftSpec, attach, parameters_sent

__all__ = [
    "METHODS",
    "NEVER_EXACT",
    "Method",
    "MethodName",
    "PeftSpec",
    "ServerState",
    "attach",
    "head_modules",
    "method_called",
    "parameters_sent",
]
