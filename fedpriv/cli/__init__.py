"""The command line: parse, call, print.  Everything else is imported inside the command that needs it."""

from fedpriv.cli.group import main

__all__ = ["main"]
