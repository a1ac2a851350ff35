"""``python -m fedpriv.cli`` is the command ``fedpriv``."""

from fedpriv.cli import main

main()
