"""PEFT: choose the parameters that are trained, flatten and restore them, save them as an adapter.

Importing this room loads no torch; its functions do.
"""

from __future__ import annotations

from fedpriv.peft.artifact import AdapterRecord, digest_of, load, read, save
from fedpriv.peft.manifest import Entry, Manifest
from fedpriv.peft.methods import METHODS, Method, PeftSpec, attach, head_modules
from fedpriv.peft.public_init import uniform

__all__ = [
    "METHODS",
    "AdapterRecord",
    "Entry",
    "Manifest",
    "Method",
    "PeftSpec",
    "attach",
    "digest_of",
    "head_modules",
    "load",
    "read",
    "save",
    "uniform",
]
