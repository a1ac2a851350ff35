"""Processes that are stopped at the end, whatever happens, with all that they started themselves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from fedpriv.errors import UsageError

__all__ = ["Processes"]

_MARK: Final = "FEDPRIV_DEPLOYMENT"
"""Every process inherits it, so that what they start in groups of their own is found, too."""
_LAST_LINES: Final = 15
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_SECONDS_TO_ANSWER: Final = 60.0
_SECONDS_TO_END: Final = 10.0
_PAUSE: Final = 0.1


class Processes:
    """Processes by name, each in a group of its own, with its output in a file.

    What a process started in another group is found by a mark in its environment, where the system shows
    environments (Linux's ``/proc``).

    Args:
        home: absolute path of what they belong to: the mark.
        logs: folder for NAME.log; a process that is started again appends to it.
        environment: of all of them.
    """

    def __init__(self, home: Path, logs: Path, environment: Mapping[str, str]) -> None:
        self._mark = f"{_MARK}={home}"
        self._logs = logs
        self._environment = {**environment, _MARK: str(home)}
        self._commands: dict[str, tuple[Sequence[str], Mapping[str, str]]] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stopped: set[str] = set()

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start a process; ``environment`` goes on top of what all have."""
        self._logs.mkdir(parents=True, exist_ok=True)
        self._commands[name] = command, environment or {}
        self._stopped.discard(name)
        with self._log_path(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(  # noqa: S603 - commands of ours, no shell
                command,
                env={**self._environment, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, command: Sequence[str]) -> str:
        """Run a command to its end, and give all that it says; its status does not count.

        Raises:
            UsageError: it takes more than a minute.
        """
        try:
            done = subprocess.run(  # noqa: S603 - commands of ours, no shell
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_SECONDS_TO_ANSWER,
                check=False,
            )
        except subprocess.TimeoutExpired:
            name = Path(command[0]).name
            raise UsageError(f"`{name} {command[1]}` does not end.", hint="Is this machine busy?") from None
        return done.stdout.decode(errors="replace")

    def stop(self, name: str, signal_: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal to a process and its group; that it ends is no surprise from now on."""
        self._stopped.add(name)
        process = self._processes[name]
        if process.poll() is None:
            os.killpg(process.pid, signal_)

    def end(self, name: str) -> None:
        """Kill a process, if it was ever started, and wait until it is gone."""
        process = self._processes.pop(name, None)
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def restart(self, name: str) -> None:
        """Start a process again as it was, once it has ended.

        Raises:
            UsageError: it does not end.
        """
        try:
            self._processes[name].wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            raise UsageError(f"The process {name!r} has not ended.", hint="Stop it first.") from None
        self.start(name, *self._commands[name])

    def status(self, name: str) -> int | None:
        """The exit status of a process, negative for a signal, or nothing while it runs."""
        return self._processes[name].poll()

    def log(self, name: str) -> str:
        """What a process has said up to now, without colours."""
        path = self._log_path(name)
        return _COLOURS.sub("", path.read_text(errors="replace")) if path.exists() else ""

    def check(self, *names: str) -> None:
        """Insist that none of these has ended by itself.

        Raises:
            UsageError: with the last lines of its log.
        """
        for name in names:
            status = self.status(name)
            if status is not None and name not in self._stopped:
                raise UsageError(
                    f"The process {name!r} ended with exit status {status}.", hint=self.end_of(name)
                )

    def end_of(self, name: str) -> str:
        """The last lines of a log, and where the rest is."""
        lines = [line for line in self.log(name).splitlines() if line.strip()][-_LAST_LINES:]
        return "\n".join([f"The end of {self._log_path(name)}:", *lines])

    def running(self) -> dict[int, str]:
        """The command lines of all that runs and carries the mark, by process number."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if self._mark.encode() in (process / "environ").read_bytes().split(b"\0"):
                    words = (process / "cmdline").read_bytes().split(b"\0")
                    found[int(process.name)] = b" ".join(words).decode(errors="replace").strip()
        return found

    def close(self) -> None:
        """End everything: ask first, those last that were started first, and kill what is left."""
        for name, process in reversed(self._processes.items()):
            self._stopped.add(name)
            for signal_ in (signal.SIGTERM, signal.SIGCONT):  # one that is paused must go on to end
                with suppress(ProcessLookupError):
                    if process.poll() is None:
                        os.killpg(process.pid, signal_)
        end = time.monotonic() + _SECONDS_TO_END
        for process in self._processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()))
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        while left := self.running():
            for number in left:
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            time.sleep(_PAUSE)

    def _log_path(self, name: str) -> Path:
        return self._logs / f"{name}.log"
