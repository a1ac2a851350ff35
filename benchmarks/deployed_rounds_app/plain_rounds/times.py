"""When something happened in a process of an app: the lines of its log, with their times, in a file."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

FOLDER = "ROUNDS_TIMES"
"""The environment's name for where the files go, one a process."""


def keep(logger: str) -> None:
    """Keep the lines of ``logger`` and all below it, and say first since when this process runs."""
    log = logging.getLogger(logger)
    handler = logging.FileHandler(Path(os.environ[FOLDER]) / f"{os.getpid()}.log")
    handler.setFormatter(logging.Formatter("%(created).3f %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.info("process of %s since %.3f", logger, _began())


def _began() -> float:
    """When this process was made: seconds since 1970."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age
