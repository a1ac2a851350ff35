"""``fedpriv account``: the library's numbers, and one sentence where there are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fedpriv import dp
from fedpriv.cli import main

RUN = ("--noise-multiplier", "1.1", "--sample-rate", "0.05", "--steps", "20")
LOUD = ("--noise-multiplier", "0.5", "--sample-rate", "1", "--steps", "5")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["account", *arguments])


def figures(*arguments: str) -> dict[str, Any]:
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return dict(json.loads(result.output))


def assert_refused(result: Result, word: str) -> None:
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] in (["error"], ["error", "hint"])
    assert word in result.stderr


def test_the_numbers_are_those_of_the_library() -> None:
    counted = [(dp.PoissonGaussian(1.1, 0.05), 20)]
    shown = figures(*RUN, "--delta", "1e-6")
    assert shown["epsilon_pld"] == dp.epsilon_pld(counted, 1e-6)
    assert shown["epsilon_rdp"] == dp.epsilon_rdp(counted, 1e-6)
    assert shown["method"] == "pld"
    assert shown["relation"] == "add-or-remove-one"
    assert shown["epsilon"] == shown["epsilon_pld"] < shown["epsilon_rdp"]
    text = call(*RUN, "--delta", "1e-6").output
    assert f"{shown['epsilon']:.6g}" in text
    assert "method" in text


def test_integer_noise_is_priced_with_its_slack() -> None:
    extra = ("--dimension", "75000")
    tiny = (
        "--delta",
        "1e-13",
        "--sensitivity",
        str(2**32),
    )  # below the least delta of PLD: RDP alone, and quick
    skellam = figures(*RUN, "--mechanism", "skellam", *extra, *tiny)
    event = dp.PoissonSkellam(dp.variance_for(1.1, 2**32), 2**32, 75_000, 0.05)
    assert skellam["epsilon_rdp"] == dp.epsilon_rdp([(event, 20)], 1e-13)
    shared = figures(*RUN, "--mechanism", "discrete-gaussian", "--shares", "8", *extra, *tiny)
    plain = figures(*RUN, "--delta", "1e-13")
    assert plain["epsilon_pld"] is None
    assert plain["method"] == "rdp"
    assert plain["epsilon_rdp"] < shared["epsilon_rdp"] < skellam["epsilon_rdp"]
    coarse = ("--mechanism", "skellam", "--sensitivity", "1024", *extra, "--delta", "1e-13")
    assert_refused(call(*RUN, *coarse), "too coarse")


def test_a_file_of_events(tmp_path: Path) -> None:
    counted: list[tuple[dp.Event, int]] = [
        (dp.PoissonGaussian(2.0, 0.05), 10),
        (dp.BandedMatrixRound(9.0, 4), 9),
    ]
    path = tmp_path / "events.json"
    path.write_text(json.dumps([{**dp.event_to_dict(event), "count": count} for event, count in counted]))
    shown = figures(str(path), "--group", "2")
    assert shown["epsilon_pld"] == dp.epsilon_pld(counted, 1e-5)
    assert shown["epsilon_rdp"] == dp.epsilon_rdp(counted, 1e-5)
    assert shown["epsilon_group"] == dp.epsilon_group(counted, 2, 1e-5)
    path.write_text(json.dumps([dp.event_to_dict(counted[0][0])]))
    assert figures(str(path))["epsilon_pld"] == dp.epsilon_pld([(counted[0][0], 1)], 1e-5)
    path.write_text("[]")
    assert figures(str(path))["epsilon"] == 0.0


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "not JSON"),
        ("{}", "not a list"),
        ("[1]", "not a list"),
        ('[{"kind": "poisson-laplace"}]', "unknown kind"),
        ('[{"kind": "banded-matrix-round", "noise_multiplier": "9.0", "bands": "4", "count": -1}]', "count"),
        (
            '[{"kind": "banded-matrix-round", "noise_multiplier": "9.0", "bands": "4", "count": true}]',
            "count",
        ),
        ('[{"kind": "banded-matrix-round", "noise_multiplier": 9.0, "bands": "4"}]', "canonical"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "events.json"
    path.write_text(text)
    result = call(str(path))
    assert result.exit_code == 2
    assert word in result.stderr


@pytest.mark.parametrize(
    ("given", "unknown"),
    [
        pytest.param(("--sample-rate", "0.05", "--steps", "30"), "noise_multiplier", marks=pytest.mark.slow),
        (("--noise-multiplier", "0.9", "--sample-rate", "0.05"), "steps"),
        pytest.param(
            ("--noise-multiplier", "0.9", "--steps", "30", "--records", "8530"),
            "sample_rate",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_missing_one_is_solved_for(given: tuple[str, ...], unknown: str) -> None:
    shown = figures("--epsilon", "3", *given)
    assert shown["solved_for"] == unknown
    assert 2.8 < shown["epsilon_pld"] <= 3.0
    assert ("batch" in shown) == (unknown == "sample_rate")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((*RUN, "--sampling", "shuffled"), "2403.17673"),
        ((*RUN, "--sampling", "none"), "no amplification"),
        ((*RUN, "--relation", "replace-one"), "replace-one"),
        ((*RUN, "--relation", "odd"), "unknown"),
        ((*RUN, "--records", "100000"), "too large"),
        ((*RUN, "--delta", "0"), "delta"),
        ((*RUN, "--epsilon", "3"), "nothing is left"),
        ((*RUN, "--mechanism", "skellam"), "--dimension"),
        ((*RUN, "--dimension", "10"), "integer noise"),
        ((*RUN, "--mechanism", "skellam", "--dimension", "9", "--shares", "2"), "--shares"),
        ((*RUN[:4],), "missing"),
        ((*RUN[:4], "--steps", "-1"), "negative"),
        ((*RUN[:4], "--epsilon", "25"), "guarantee"),
        ((*RUN[:4], "--epsilon", "3", "--mechanism", "skellam"), "Gaussian"),
        (LOUD, "guarantee"),
        (("--noise-multiplier", "0", "--sample-rate", "0.2", "--steps", "9"), "multiplier"),
        (("--noise-multiplier", "1", "--sample-rate", "1", "--epsilon", "1"), "nothing fits"),
        (("events.json", "--steps", "3"), "EVENTS.json"),
        (("events.json", "--mechanism", "skellam"), "EVENTS.json"),
        (("events.json", "--sample-rate", "0.5"), "EVENTS.json"),
        (("no-such.json",), "No such file"),
    ],
)
def test_what_cannot_be_priced_gets_one_sentence(arguments: tuple[str, ...], word: str) -> None:
    assert_refused(call(*arguments), word)


def test_a_large_epsilon_is_given_when_it_is_asked_for() -> None:
    assert figures(*LOUD, "--allow-large-epsilon")["epsilon"] >= 20
    none = figures("--noise-multiplier", "5", "--steps", "3", "--sampling", "none")
    assert none["epsilon_pld"] == dp.epsilon_pld([(dp.PoissonGaussian(5.0, 1.0), 3)], 1e-5)
