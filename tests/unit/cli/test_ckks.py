"""``fedpriv ckks``: parameters of an encrypted sum, for people and for programs, and the document's table."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fedpriv.cli import main

ROOT = Path(__file__).resolve().parents[3]


def ask(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["ckks", "parameters", *arguments])


def ten(*more: str) -> Result:
    return ask("--clients", "10", "--dimension", "75000", "--bits", "24", *more)


def test_programs_get_one_json_object() -> None:
    answer = json.loads(ten("--json").output)
    assert (answer["mode"], answer["holders"], answer["threshold"]) == ("authority", [0], 1)
    assert (answer["sum_bits"], answer["bound"], answer["min_survivors"]) == (24, 838860, 6)
    assert answer["wire_ratio"] == answer["upload_bytes"] / 300_000
    assert answer["wire_ratio"] < 2.0
    assert answer["modulus_bits"] <= answer["modulus_bits_allowed"]
    assert (answer["flood_deviation"], answer["statistical_bits"], answer["warning"]) == (0.0, None, None)
    assert answer["noise_limit"] == answer["noise_prime"] // 32
    shared = json.loads(ten("--mode", "threshold", "--json").output)
    assert (shared["holders"], shared["threshold"]) == ([1, 2, 3, 4, 5], 4)
    assert (shared["statistical_bits"], shared["log2_failure"]) == (30, -40)
    assert shared["flood_deviation"] > 2**29 * shared["noise_deviation"]


def test_every_option_changes_the_answer() -> None:
    base = json.loads(ten("--mode", "threshold", "--json").output)
    for options in (
        ("--holders", "3"),
        ("--threshold", "5"),
        ("--max-colluders", "3"),
        ("--server", "semi-honest"),
        ("--min-survivors", "8"),
        ("--sums-per-key", "4"),
        ("--statistical-bits", "24"),
    ):
        assert json.loads(ten("--mode", "threshold", "--json", *options).output) != base, options


def test_people_get_a_line_for_each_number() -> None:
    result = ten("--mode", "threshold")
    assert result.exit_code == 0
    lines = dict(re.split(r" {2,}", line, maxsplit=1) for line in result.stdout.splitlines())
    assert lines["key"] == "4 of 5 clients open a sum together"
    assert lines["values"] == "75,000 of at most 838,860; a sum of 10 takes 24 bits"
    assert re.fullmatch(r"degree [\d,]+", lines["ring"])
    assert re.fullmatch(r"noise \d+ bits, messages \d+ of \d+ bits, special 30 bits", lines["primes"])
    assert lines["security"].startswith("128 bits: keys have ")
    assert "times float32" in lines["upload"]
    assert "for up to 16 sums" in lines["public key"]
    assert "10 subsets" in lines["flooding"]
    assert "2^-30" in lines["flooding"]
    assert "2^-40" in lines["failure"]
    assert {"layout", "to a holder", "answer", "noise"} < lines.keys()


def test_a_shared_key_is_warned_about_before_the_numbers() -> None:
    result = ten("--mode", "shared-key")
    assert result.exit_code == 0
    assert result.stderr.startswith("SHARED KEY: ")
    assert "every client holds the whole key" in result.stdout
    assert not ten().stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--bound", "7"), "in one way: --bound or --bits"),
        (("--mode", "threshold", "--threshold", "3"), "two different sums of one round"),
        (("--mode", "threshold", "--holders", "11"), "--holders is 11"),
        (("--mode", "threshold", "--holders", "10"), "252 subsets"),
        (("--mode", "threshold", "--statistical-bits", "64"), "times too large"),
        (("--threshold", "2"), "the key is held by party 0"),
        (("--holders", "3"), "the key is held by party 0"),
        (("--max-colluders", "9"), "fewer than two are honest"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(arguments: tuple[str, ...], words: str) -> None:
    result = ten(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] in (["error"], ["error", "hint"])


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--clients", "10", "--dimension", "100"),
        ("--clients", "10", "--dimension", "100", "--bits", "61"),
        ("--clients", "0", "--dimension", "100", "--bits", "24"),
        ("--clients", "10", "--dimension", "100", "--bits", "3"),
        ("--clients", "ten", "--dimension", "100", "--bits", "24"),
        ("--clients", "10", "--dimension", "100", "--bits", "24", "--mode", "none"),
    ],
)
def test_mistakes_leave_with_status_2_and_no_traceback(arguments: tuple[str, ...]) -> None:
    result = ask(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_the_documents_table_is_what_the_script_prints() -> None:
    spec = importlib.util.spec_from_file_location("made", ROOT / "benchmarks" / "ckks_parameters.py")
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.table() in (ROOT / "protocols" / "ckks" / "parameters.md").read_text("utf-8")


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from fedpriv.cli import main\n"
        "try:\n    main(['ckks', 'parameters', '--help'])\n"
        "except SystemExit:\n    pass\n"
        "heavy = ('torch', 'numpy', 'scipy', 'rich', 'cryptography', 'tenseal')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
    assert "--statistical-bits" in done.stdout
