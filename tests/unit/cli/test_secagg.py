"""``fedpriv secagg``: parameters for a cohort, for people and for programs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner, Result

from fedpriv.cli import main


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["secagg", "parameters", *arguments])


def ask(clients: str, corrupt: str, dropout: str, *more: str) -> Result:
    return call("--clients", clients, "--corrupt", corrupt, "--dropout", dropout, *more)


def test_programs_get_one_json_object() -> None:
    result = ask("10000", "0.05", "0.05", "--adversary", "semi-malicious", "--json")
    assert result.exit_code == 0
    answer = json.loads(result.output)
    assert (answer["degree"], answer["threshold"]) == (62, 44)
    assert (answer["holders"], answer["corrupt_neighbours"], answer["complete"]) == (62, 24, False)
    assert (answer["max_corrupt"], answer["max_dropped"]) == (500, 500)
    assert answer["log2_disconnected"] < -41
    assert answer["log2_exposed"] <= -41
    assert answer["log2_unfinished"] <= -20
    assert (answer["adversary"], answer["security_bits"], answer["grinding_bits"]) == (
        "semi-malicious",
        40,
        0,
    )
    curious = json.loads(ask("10000", "0.05", "0.05", "--adversary", "curious", "--json").output)
    assert (curious["degree"], curious["threshold"]) == (34, 20)


def test_what_cannot_happen_is_null() -> None:
    answer = json.loads(ask("10", "0.1", "0.1", "--json").output)
    assert (answer["degree"], answer["threshold"], answer["complete"]) == (9, 6, True)
    assert answer["log2_exposed"] is None


def test_the_bits_change_the_answer() -> None:
    base = json.loads(ask("10000", "0.05", "0.05", "--json").output)["degree"]
    for option in ("--security-bits", "--correctness-bits", "--grinding-bits"):
        more = json.loads(ask("10000", "0.05", "0.05", option, "90", "--json").output)
        assert more["degree"] > base
        assert more[option[2:].replace("-", "_")] == 90


def test_people_get_a_line_for_each_number() -> None:
    result = ask("10000", "0.05", "0.1", "--adversary", "curious", "--grinding-bits", "64")
    assert result.exit_code == 0
    lines = dict(line.split(None, 1) for line in result.output.splitlines())
    assert lines["clients"] == "10,000"
    assert lines["server"].startswith("curious: follows the protocol")
    assert "up to 500 " in lines["corrupt"]
    assert "up to 1,000 " in lines["dropped"]
    assert "others, its neighbours" in lines["degree"]
    assert "shares open a secret" in lines["threshold"]
    for label in ("exposed", "split"):
        assert float(lines[label].split("2^")[1].split(":")[0]) <= -105
    assert "2^64 graphs" in lines["grinding"]


def test_people_are_told_that_the_graph_is_complete() -> None:
    result = ask("5", "0", "0.2")
    assert "complete: each client is joined to all 4 others" in result.output
    assert "3 of 5 shares open a secret" in result.output
    assert "cannot happen" in result.output
    assert "grinding" not in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("2", "0", "0"), "2 clients protects nobody"),
        (("100", "0.5", "0.3"), "No graph of 100 clients withstands 50 corrupt and 30 dropped ones"),
        (("100", "0.5", "0.495", "--adversary", "curious"), "hides nobody that is alone"),
        (("100", "5", "0"), "corrupt is 5.0; it is a fraction"),
        (("100", "0", "nan"), "dropout is nan; it is a fraction"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(arguments: tuple[str, ...], words: str) -> None:
    result = ask(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert [line.partition(":")[0] for line in result.stderr.strip().splitlines()] == ["error", "hint"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("ten", "0", "0"),
        ("100", "0", "0", "--adversary", "kind"),
        ("100", "0", "0", "--security-bits", "0"),
        (),
    ],
)
def test_mistakes_leave_with_status_2_and_no_traceback(arguments: tuple[str, ...]) -> None:
    result = ask(*arguments) if arguments else call()
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from fedpriv.cli import main\n"
        "try:\n    main(['secagg', 'parameters', '--help'])\n"
        "except SystemExit:\n    pass\n"
        "heavy = ('torch', 'numpy', 'scipy', 'rich', 'cryptography')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
    assert "--grinding-bits" in done.stdout
