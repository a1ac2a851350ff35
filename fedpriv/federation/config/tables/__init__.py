"""The tables of a configuration, one frozen model each: what a key means, its default and its range."""

from __future__ import annotations

from fedpriv.federation.config.tables.learning import Local, Model, Peft, Run, Server, Training
from fedpriv.federation.config.tables.privacy import AdaptiveClipping, Budget, Privacy
from fedpriv.federation.config.tables.records import Data, Partition, Simulation, TestData
from fedpriv.federation.config.tables.summing import Ckks, Compression, SecAgg
from fedpriv.federation.config.tables.table import Table

__all__ = [
    "AdaptiveClipping",
    "Budget",
    "Ckks",
    "Compression",
    "Data",
    "Local",
    "Model",
    "Partition",
    "Peft",
    "Privacy",
    "Run",
    "SecAgg",
    "Server",
    "Simulation",
    "Table",
    "TestData",
    "Training",
]
