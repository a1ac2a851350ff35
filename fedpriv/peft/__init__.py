"""PEFT: choose the parameters that are trained, flatten and restore them, save them as an adapter.

Importing this room loads no torch; its functions do.
"""

from __future__ import annotations

from fedpriv.peft.artifact import AdapterRecord, digest_of, load, read, save
from fedpriv.peft.coordinates import Coordinates
from fedpriv.peft.directions import Directions
from fedpriv.peft.kept_part import KeptPart
from fedpriv.peft.manifest import Entry, Manifest
from fedpriv.peft.methods import (
    METHODS,
    NEVER_EXACT,
    Method,
    MethodName,
    PeftSpec,
    ServerState,
    attach,
    head_modules,
    method_called,
    parameters_sent,
)
from fedpriv.peft.own_adapter import join
from fedpriv.peft.public_choice import public_words, smallest
from fedpriv.peft.public_init import uniform

__all__ = [
    "METHODS",
    "NEVER_EXACT",
    "AdapterRecord",
    "Coordinates",
    "Directions",
    "Entry",
    "KeptPart",
    "Manifest",
    "Method",
    "MethodName",
    "PeftSpec",
    "ServerState",
    "attach",
    "digest_of",
    "head_modules",
    "join",
    "load",
    "method_called",
    "parameters_sent",
    "public_words",
    "read",
    "save",
    "smallest",
    "uniform",
]
