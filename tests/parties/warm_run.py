"""Imported once by the process that others are forked from: loads and computes what every run begins with."""

from __future__ import annotations

import tempfile
from pathlib import Path

from parties.run_kills import config_of

from fedpriv.federation.planning.make import make_plan
from fedpriv.federation.workplace import prepare

with tempfile.TemporaryDirectory() as folder:
    _config = config_of(Path(folder))
    make_plan(_config, prepare(_config))
