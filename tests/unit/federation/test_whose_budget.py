"""The data of a configuration, known again whatever was done to the file or to the configuration."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from parties.small_run import RECORDS, small_config

from fedpriv.dp import PoissonGaussian
from fedpriv.errors import IntegrityError, UsageError
from fedpriv.federation.config import Config
from fedpriv.federation.planning.words import dataset_lines
from fedpriv.federation.workplace import DataSet, load_data
from fedpriv.ledger.home import open_ledger
from fedpriv.ledger.records import remember

TRAINING = RECORDS * 4 // 5


@pytest.fixture
def first(tmp_path: Path) -> DataSet:
    """The small reviews, with an accent, and a run planned on them of which a round is spent."""
    config = small_config(tmp_path)
    write(tmp_path, [row.replace("film", "com\u00e9die") for row in reviews(tmp_path)])
    return commit(config, "first")


def commit(config: Config, run: str) -> DataSet:
    dataset = load_data(config, begins=True)
    with open_ledger(config.resolve("ledger.sqlite")) as ledger:
        with remember(ledger, dataset.recognised) as records:
            ledger.set_budget(dataset.fingerprint, dataset.name, 6.0, 1e-4)
            event = PoissonGaussian(noise_multiplier=2.0, sampling_rate=0.01)
            ledger.plan(run, dataset.fingerprint, event=event, rounds=3, details={"records": records})
        ledger.reserve(run, 1)
    return dataset


def reviews(folder: Path) -> list[str]:
    return (folder / "reviews.csv").read_text().splitlines()


def write(folder: Path, rows: list[str]) -> None:
    (folder / "reviews.csv").write_text("\n".join(rows) + "\n")


def relabelled(rows: list[str]) -> list[str]:
    swap = {"good": "bad", "bad": "good"}
    return [rows[0], *(f"{text},{swap[label]}" for text, label in (row.rsplit(",", 1) for row in rows[1:]))]


def spaced(row: str) -> str:
    text, label = row.rsplit(",", 1)
    return '"  ' + text.replace(" ", "\u00a0 ") + f'\r\n",{label}'


DISGUISES: dict[str, Any] = {
    "reordered": lambda rows: [rows[0], *reversed(rows[1:])],
    "one record more": lambda rows: [*rows, "a new film,good"],
    "a tenth less": lambda rows: rows[: RECORDS * 9 // 10],
    "relabelled": relabelled,
    "labels renamed": lambda rows: [
        row.replace(",good", ",fresh").replace(",bad", ",rotten") for row in rows
    ],
    "white space": lambda rows: [rows[0], *(spaced(row) for row in rows[1:])],
    "decomposed": lambda rows: [unicodedata.normalize("NFD", row) for row in rows],
}


@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES)
def test_a_file_in_a_disguise_gets_no_fresh_budget(tmp_path: Path, first: DataSet, disguise: Any) -> None:
    write(tmp_path, disguise(reviews(tmp_path)))
    found = load_data(small_config(tmp_path)).recognised
    assert found.dataset == first.fingerprint
    assert found.spent is not None
    assert found.spent.epsilon > 0
    assert found.shared > TRAINING / 2


@pytest.mark.parametrize(
    "change", [{"run__seed": 9}, {"data__test": {"fraction": 0.5}}, {"partition__clients": 7}]
)
def test_another_seed_or_split_gets_no_fresh_budget(tmp_path: Path, first: DataSet, change: Any) -> None:
    assert load_data(small_config(tmp_path, **change)).fingerprint == first.fingerprint


def test_other_data_are_new(tmp_path: Path, first: DataSet) -> None:
    rows = reviews(tmp_path)
    write(tmp_path, [rows[0], *(f"something else: {row}" for row in rows[1:])])
    found = load_data(small_config(tmp_path)).recognised
    assert not found.known
    assert found.others == ()


def test_a_plan_says_how_many_records_are_known_and_what_they_have_spent(
    tmp_path: Path, first: DataSet
) -> None:
    ((_, said),) = dataset_lines(first)
    assert said == f"reviews.csv: new to the ledger, {TRAINING} records"
    write(tmp_path, [*reviews(tmp_path), *(f"a new film {k},{('good', 'bad')[k % 2]}" for k in range(40))])
    grown = load_data(small_config(tmp_path))
    ((label, said),) = dataset_lines(grown)
    new = grown.recognised.new
    assert 0 < new < 224
    assert label == "data set"
    assert said.startswith(f"reviews.csv: {224 - new} of 224 records known, {new} new; it has spent ε = ")


def test_a_declared_version_is_told_apart_and_both_budgets_are_named(tmp_path: Path, first: DataSet) -> None:
    declared = small_config(tmp_path, data__version="2026")
    version = commit(declared, "second")
    assert version.fingerprint != first.fingerprint
    assert version.name == "reviews.csv (2026)"
    (_, other) = dataset_lines(version)
    assert other[0] == "also accounted"
    assert f"{TRAINING} of the records are also in reviews.csv ({first.fingerprint[:12]})" in other[1]
    assert "of 6; for whoever is in both" in other[1]
    assert load_data(declared).fingerprint == version.fingerprint


def test_without_a_ledger_nothing_is_made_and_nothing_is_known(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    found = load_data(config).recognised
    assert (found.known, found.records, found.to_dict()["dataset"]) == (False, TRAINING, None)
    assert [entry.name for entry in tmp_path.iterdir()] == ["reviews.csv"]


def test_a_ledger_without_its_marks_plans_nothing(tmp_path: Path, first: DataSet) -> None:
    for file in (tmp_path / "ledger.sqlite.records").glob("*.npy"):
        file.unlink()
    with pytest.raises(IntegrityError, match="marks of a data set's records"):
        load_data(small_config(tmp_path))


def test_two_known_data_sets_in_one_file_are_refused(tmp_path: Path, first: DataSet) -> None:
    rows = reviews(tmp_path)
    other = [f"elsewhere, {row}".replace(", ", " ") for row in rows[1:]]
    write(tmp_path, [rows[0], *other])
    commit(small_config(tmp_path, budget__name="elsewhere"), "second")
    write(tmp_path, [*rows, *other])
    with pytest.raises(UsageError, match="belong to 2 data sets") as caught:
        load_data(small_config(tmp_path))
    assert '"elsewhere"' in str(caught.value)
    assert '"reviews.csv"' in str(caught.value)
