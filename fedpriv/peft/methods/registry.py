"""The methods by name, and names of others that are known: those that no secure sum can carry."""

from __future__ import annotations

from typing import Final, Literal

from fedpriv.errors import UsageError
from fedpriv.peft.methods.adapter import Adapter
from fedpriv.peft.methods.deep_prompt import DeepPrompt
from fedpriv.peft.methods.fed_k_seed import FedKSeed
from fedpriv.peft.methods.fed_sa_lora import FedSaLora
from fedpriv.peft.methods.fed_sb import FedSb
from fedpriv.peft.methods.fed_svd import FedSvd
from fedpriv.peft.methods.flasc import Flasc
from fedpriv.peft.methods.het_lora import HetLora
from fedpriv.peft.methods.ia3 import Ia3
from fedpriv.peft.methods.lora import FfaLora, Lora
from fedpriv.peft.methods.method import Method
from fedpriv.peft.methods.prompts import Prefix, Prompt, PTuning
from fedpriv.peft.methods.ro_lora import RoLora
from fedpriv.peft.methods.whole import BitFit, Full, Head

MethodName = Literal[
    "lora",
    "ffa-lora",
    "rolora",
    "fedsvd",
    "hetlora",
    "flasc",
    "fedsa-lora",
    "fed-sb",
    "adapter",
    "ia3",
    "prompt",
    "prefix",
    "p-tuning",
    "deep-prompt",
    "bitfit",
    "head",
    "full",
    "fedkseed",
]

METHODS: Final[dict[str, Method]] = {
    method.name: method
    for method in (
        Lora(),
        FfaLora(),
        RoLora(),
        FedSvd(),
        HetLora(),
        Flasc(),
        FedSaLora(),
        FedSb(),
        Adapter(),
        Ia3(),
        Prompt(),
        Prefix(),
        PTuning(),
        DeepPrompt(),
        BitFit(),
        Head(),
        Full(),
        FedKSeed(),
    )
}

NEVER_EXACT: Final = {
    "flora": ("it stacks the clients' halves, and a stack shows each of them", "ffa-lora"),
    "top-k": (
        "each client would send coordinates of its own choice, which a sum hides neither nor adds up",
        "fed-sb",
    ),
    "fedex-lora": (
        "it is exact only where the products B A themselves are summed, one full weight each",
        "ffa-lora",
    ),
}
"""Methods that cannot be exact under a secure sum: why, and the nearest that works."""


def method_called(name: str) -> Method:
    """The method of that name.

    >>> method_called("ffa-lora").exact, method_called("lora").exact
    (True, False)

    Raises ``UsageError`` on any other, saying why where it is known.
    """
    found = METHODS.get(name)
    if found is not None:
        return found
    if name in NEVER_EXACT:
        reason, nearest = NEVER_EXACT[name]
        raise UsageError(
            f"{name} cannot be summed securely: {reason}", hint=f"the nearest that works is {nearest}"
        )
    raise UsageError(f"{name!r} is not a PEFT method of fedpriv", hint=f"choose one of {', '.join(METHODS)}")
