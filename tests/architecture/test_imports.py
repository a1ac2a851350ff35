"""What an import may cost: light rooms load no torch, and the package itself loads next to nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "peft", "opacus", "dp_accounting", "pandas", "tenseal", "flwr")
LIGHT = (
    "fedpriv.flower",
    "fedpriv.audit",
    "fedpriv",
    "fedpriv.aggregation",
    "fedpriv.ckks",
    "fedpriv.cli",
    "fedpriv.crypto",
    "fedpriv.data",
    "fedpriv.deployment.files",
    "fedpriv.deployment.party",
    "fedpriv.deployment.serve",
    "fedpriv.dp",
    "fedpriv.encoding",
    "fedpriv.federation.config",
    "fedpriv.federation.planning.make",
    "fedpriv.keystore",
    "fedpriv.ledger",
    "fedpriv.private",
    "fedpriv.peft",
    "fedpriv.report",
    "fedpriv.secagg",
    "fedpriv.training",
)


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_room_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_package_itself_loads_none_of_its_rooms() -> None:
    code = "import sys, fedpriv; print(*(name for name in sys.modules if name.startswith('fedpriv.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_every_public_name_can_be_had() -> None:
    import fedpriv

    for name in fedpriv.__all__:
        assert callable(getattr(fedpriv, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fedpriv.nothing  # noqa: B018 - the access is the test
