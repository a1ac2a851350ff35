"""Whose budget it is: records known again in every disguise, and what is kept to know them."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedpriv.crypto import SigningKey
from fedpriv.dp import PoissonGaussian
from fedpriv.errors import BudgetExceeded, IntegrityError, UsageError
from fedpriv.ledger import Ledger
from fedpriv.ledger.marks import MOST, Marks, marks_of, salt_of
from fedpriv.ledger.records import Recognised, announce, check_resumed, first_seen, recognise, remember

EVENT = PoissonGaussian(noise_multiplier=2.0, sampling_rate=0.01)


def texts(*ranges: range) -> list[bytes]:
    return [f"record {number}".encode() for part in ranges for number in part]


def seen(ledger: Ledger, records: Iterable[bytes], version: str | None = None) -> Recognised:
    return recognise(ledger, Marks.of(marks_of(records, salt_of(ledger))), version)


def commit(
    ledger: Ledger, records: Iterable[bytes], run: str, version: str | None = None, epsilon: float = 6.0
) -> Recognised:
    """Plan a run on ``records`` and reserve one round of it."""
    found = seen(ledger, records, version)
    with remember(ledger, found) as kept:
        if ledger.budget(found.dataset) is None:
            ledger.set_budget(found.dataset, found.called(run), epsilon, 1e-5)
        ledger.plan(run, found.dataset, event=EVENT, rounds=10, details={"records": kept})
    ledger.reserve(run, 0)
    return found


def records_of(ledger: Ledger, dataset: str) -> dict[str, object]:
    details = ledger.rows(dataset)[-2].body["details"]
    assert isinstance(details, dict)
    found = details["records"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("disguise", "shared", "new"),
    [
        (texts(range(1000))[::-1], 1000, 0),
        (texts(range(1001)), 1000, 1),
        (texts(range(500)), 500, 0),
        (texts(range(800), range(2000, 2200)), 800, 200),
        (texts(range(12), range(5000, 5988)), 12, 988),
        (texts(range(7)), 7, 0),
        (texts(range(1000)) * 2, 1000, 0),
    ],
    ids=["reordered", "one more", "half", "another split", "one in a hundred", "a few", "each twice"],
)
def test_records_in_a_disguise_spend_from_their_data_set_s_budget(
    ledger: Ledger, disguise: list[bytes], shared: int, new: int
) -> None:
    first = commit(ledger, texts(range(1000)), "first")
    assert not first.known
    found = seen(ledger, disguise)
    assert (found.dataset, found.shared, found.new) == (first.dataset, shared, new)
    assert found.spent is not None
    assert found.spent.epsilon > 0


def test_what_a_data_set_has_gained_is_its_own_from_then_on(ledger: Ledger) -> None:
    first = commit(ledger, texts(range(1000)), "first")
    commit(ledger, texts(range(900, 1500)), "second")
    assert seen(ledger, texts(range(1400, 1500))).dataset == first.dataset
    assert seen(ledger, texts(range(1500))).new == 0
    assert not seen(ledger, texts(range(1500, 1600))).known


def test_a_union_of_two_data_sets_is_refused_and_both_are_named(ledger: Ledger) -> None:
    commit(ledger, texts(range(1000)), "spring")
    commit(ledger, texts(range(1000, 2000)), "autumn")
    with pytest.raises(UsageError, match="belong to 2 data sets") as caught:
        seen(ledger, texts(range(2000)))
    for name in ("spring", "autumn"):
        assert re.search(rf'"{name}" \([0-9a-f]{{12}}…, ε = \d\.\d+ spent\)', str(caught.value))
    assert "version" in caught.value.hint


def test_under_one_in_a_hundred_is_another_data_set_and_the_number_is_kept(ledger: Ledger) -> None:
    first = commit(ledger, texts(range(1000)), "first")
    second = commit(ledger, texts(range(991, 1991)), "second")
    assert second.dataset != first.dataset
    (other,) = records_of(ledger, second.dataset)["others"]  # type: ignore[misc]
    assert (other["dataset"], other["shared"], other["budget"]) == (first.dataset, 9, "6.0")


def test_a_declared_version_has_its_own_budget_and_names_the_other(ledger: Ledger) -> None:
    first = commit(ledger, texts(range(1000)), "first")
    version = commit(ledger, texts(range(200, 1200)), "second", "2026", epsilon=2.0)
    assert version.dataset != first.dataset
    assert (version.known, version.others[0].shared, version.others[0].budget) == (False, 800, 6.0)
    assert records_of(ledger, version.dataset)["version"] == "2026"
    later = seen(ledger, texts(range(190, 1210)), "2026")
    assert (later.dataset, later.new) == (version.dataset, 20)


def test_a_version_does_not_take_a_data_set_s_own_records_from_it(ledger: Ledger) -> None:
    first = commit(ledger, texts(range(1000)), "first")
    commit(ledger, texts(range(200, 1200)), "second", "2026")
    again = seen(ledger, texts(range(300, 900)))
    assert again.dataset == first.dataset
    assert [other.shared for other in again.others] == [600]
    with pytest.raises(UsageError, match="2 data sets of the ledger"):
        seen(ledger, texts(range(300, 1100)))


def test_a_version_s_records_without_its_label_are_known_as_it(ledger: Ledger) -> None:
    version = commit(ledger, texts(range(100)), "first", "2026")
    found = seen(ledger, texts(range(110)))
    assert (found.dataset, found.version) == (version.dataset, "2026")


@pytest.mark.parametrize("version", ["", "x" * 65, 2026])
def test_a_version_is_a_short_text(ledger: Ledger, version: str) -> None:
    with pytest.raises(UsageError, match="1 to 64 characters"):
        seen(ledger, texts(range(3)), version)


def test_records_that_got_a_budget_before_any_run_are_known_when_it_comes(ledger: Ledger) -> None:
    found = seen(ledger, texts(range(100)))
    announce(ledger, found)
    ledger.set_budget(found.dataset, "reviews", 2.0, 1e-5)
    assert seen(ledger, texts(range(101))).dataset == found.dataset


def test_a_refused_plan_changes_nothing_that_is_known(ledger: Ledger) -> None:
    first = commit(ledger, texts(range(1000)), "first", epsilon=2.0)
    found = seen(ledger, texts(range(1200)))
    with pytest.raises(BudgetExceeded), remember(ledger, found) as kept:
        ledger.plan("second", found.dataset, event=EVENT, rounds=10**6, details={"records": kept})
    assert seen(ledger, texts(range(1200))).new == 200
    commit(ledger, texts(range(1100)), "third")
    assert len(marks_files(ledger, first.dataset)) == 1


def test_a_run_goes_on_with_its_own_records_only(ledger: Ledger) -> None:
    found = commit(ledger, texts(range(1000)), "first")
    check_resumed(ledger, found.dataset, "first", seen(ledger, texts(range(1000))[::-1]).marks)
    with pytest.raises(UsageError, match="not those that the run was begun with"):
        check_resumed(ledger, found.dataset, "first", seen(ledger, texts(range(999))).marks)


# What is kept on the disk


def marks_files(ledger: Ledger, dataset: str) -> list[Path]:
    return list(ledger.path.with_name(f"{ledger.path.name}.records").glob(f"{dataset}-*.npy"))


def test_marks_are_private_and_only_the_last_ones_stay(ledger: Ledger) -> None:
    found = commit(ledger, texts(range(10)), "first")
    commit(ledger, texts(range(12)), "second")
    (file,) = marks_files(ledger, found.dataset)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert len(np.load(file)) == 12


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-8])


def one_less(file: Path) -> None:
    np.save(file, np.load(file)[1:])


def not_sorted(file: Path) -> None:
    np.save(file, np.load(file)[::-1])


def a_pickle(file: Path) -> None:
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    "damage", [Path.unlink, cut, one_less, not_sorted, a_pickle, lambda file: file.write_bytes(b"")]
)
def test_marks_that_are_gone_or_changed_stop_every_plan(
    ledger: Ledger, damage: Callable[[Path], object]
) -> None:
    found = commit(ledger, texts(range(1000)), "first")
    (file,) = marks_files(ledger, found.dataset)
    damage(file)
    length = len(ledger.rows(found.dataset))
    with pytest.raises(IntegrityError, match=file.name) as caught:
        commit(ledger, texts(range(5000, 5010)), "second")
    assert "Restore" in caught.value.hint
    assert len(ledger.rows(found.dataset)) == length
    assert len(ledger.datasets()) == 1


def test_marks_of_another_data_set_under_the_name_are_noticed(ledger: Ledger) -> None:
    first = commit(ledger, texts(range(1000)), "first")
    second = commit(ledger, texts(range(2000, 3000)), "second")
    (one,), (other,) = (marks_files(ledger, found.dataset) for found in (first, second))
    one.write_bytes(other.read_bytes())
    with pytest.raises(IntegrityError, match=one.name):
        seen(ledger, texts(range(1000)))


CHILD = """
import os, signal, sys
from fedpriv.crypto import SigningKey
from fedpriv.dp import PoissonGaussian
from fedpriv.ledger import Ledger
from fedpriv.ledger.marks import Marks, marks_of, salt_of
from fedpriv.ledger.records import recognise, remember

ledger = Ledger.open(sys.argv[1], SigningKey.from_seed(bytes(range(32))), lambda: "2026-01-31T12:00:00Z")
records = (f"record {number}".encode() for number in range(int(sys.argv[2])))
found = recognise(ledger, Marks.of(marks_of(records, salt_of(ledger))))

def at(place):
    if place == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)

with remember(ledger, found) as kept:
    at("before the budget")
    if ledger.budget(found.dataset) is None:
        ledger.set_budget(found.dataset, "reviews", 6.0, 1e-5)
    at("before the plan")
    event = PoissonGaussian(noise_multiplier=2.0, sampling_rate=0.01)
    ledger.plan(sys.argv[4], found.dataset, event=event, rounds=10, details={"records": kept})
    at("after the plan")
"""


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("before the budget", marks=pytest.mark.slow),
        "before the plan",
        pytest.param("after the plan", marks=pytest.mark.slow),
    ],
)
def test_a_kill_at_any_moment_loses_no_mark_that_a_row_rests_on(
    path: Path, signer: SigningKey, clock: Callable[[], str], place: str
) -> None:
    def child(count: int, where: str, run: str) -> int:
        command = [sys.executable, "-c", CHILD, str(path), str(count), where, run]
        return subprocess.run(command, check=False, env=os.environ, timeout=60).returncode

    assert child(1000, place, "first") == -signal.SIGKILL
    with Ledger.open(path, signer, clock) as ledger:
        known = seen(ledger, texts(range(900)))
        assert known.known == (place != "before the budget")
    assert child(1000, "nowhere", "second") == 0
    assert child(1500, place, "third") == -signal.SIGKILL
    with Ledger.open(path, signer, clock) as ledger:
        found = seen(ledger, texts(range(1500)))
        assert found.new == (0 if place == "after the plan" else 500)
        commit(ledger, texts(range(1200)), "fourth")
        assert len(ledger.datasets()) == 1
        assert len(marks_files(ledger, found.dataset)) == 1


def test_two_that_first_see_the_same_records_at_once_share_one_budget(
    path: Path, signer: SigningKey, clock: Callable[[], str]
) -> None:
    Ledger.open(path, signer, clock).close()
    together, ends = threading.Barrier(2), []

    def begin(records: list[bytes], run: str) -> None:
        with Ledger.open(path, signer, clock) as ledger:
            found = seen(ledger, records)
            together.wait(timeout=30)
            try:
                with remember(ledger, found) as kept:
                    ledger.set_budget(found.dataset, run, 6.0, 1e-5)
                    ledger.plan(run, found.dataset, event=EVENT, rounds=10, details={"records": kept})
                ends.append(run)
            except UsageError as error:
                ends.append(str(error))

    threads = [
        threading.Thread(target=begin, args=(texts(range(start, start + 1000)), f"from-{start}"))
        for start in (0, 500)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sum("another data set" in end for end in ends) == 1
    with Ledger.open(path, signer, clock) as ledger:
        assert len(ledger.datasets()) == 1


# Many records


def drawn(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


def test_over_a_million_records_a_sample_tells_the_overlap(ledger: Ledger) -> None:
    many = drawn(3 * MOST, 1)
    whole = Marks.of(many)
    assert not whole.whole
    assert whole.count == pytest.approx(len(many), rel=0.005)
    part = Marks.of(np.concatenate([many[:MOST], drawn(MOST, 2)]))
    overlap = whole.overlap(part)
    assert overlap.shared == pytest.approx(MOST, rel=0.01)
    assert overlap.share == pytest.approx(0.5, rel=0.01)
    assert whole.union(part).count == pytest.approx(4 * MOST, rel=0.005)


def test_records_too_few_to_be_seen_in_a_sample_get_no_budget_by_chance(ledger: Ledger) -> None:
    large = Marks.of(drawn(MOST + 100, 3) >> np.uint64(8))  # the sample that some 2^28 records leave
    found = recognise(ledger, large)
    with remember(ledger, found) as kept:
        ledger.set_budget(found.dataset, "large", 6.0, 1e-5)
        ledger.plan("first", found.dataset, event=EVENT, rounds=10, details={"records": kept})
    with pytest.raises(UsageError, match="too few beside the data set"):
        seen(ledger, texts(range(100)))
    assert seen(ledger, texts(range(100)), "of its own").others == ()


# What marks and names tell to others


def test_under_another_salt_marks_and_names_have_nothing_in_common() -> None:
    drawn = [marks_of(texts(range(10_000)), bytes([salt]) * 32) for salt in (1, 2)]
    bits = np.unpackbits((drawn[0] ^ drawn[1]).view(np.uint8))
    assert abs(bits.mean() - 0.5) < 0.01
    one, other = map(Marks.of, drawn)
    assert one.overlap(other).shared == 0
    assert one.name(bytes(32)) != one.name(bytes([1]) * 32)


def test_whoever_can_guess_the_records_learns_nothing_from_a_published_name(ledger: Ledger) -> None:
    """All records but one are known to the attacker, and a list of candidates for that one."""
    known, candidates, secret = texts(range(50)), texts(range(100, 200)), b"record 163"

    def attack(published: str, salt: bytes) -> list[bytes]:
        def name(guess: bytes) -> str:
            return first_seen(Marks.of(marks_of([*known, guess], salt)), salt).dataset

        return [guess for guess in candidates if name(guess) == published]

    unsalted = bytes(32)
    plain = first_seen(Marks.of(marks_of([*known, secret], unsalted)), unsalted).dataset
    assert attack(plain, unsalted) == [secret]
    ours = commit(ledger, [*known, secret], "first").dataset
    assert attack(ours, salt_of(ledger)) == [secret]
    for salt in (unsalted, ledger.public, bytes(range(32))):
        assert attack(ours, salt) == []
    kept = records_of(ledger, ours)
    assert set(kept) == {"digest", "own"}


def test_marks_digest_and_name_are_those_of_the_specification(ledger: Ledger) -> None:
    """Written from section 11 of the specification alone."""
    info = b"fedpriv/ledger/salt/v1"
    framed = len(info).to_bytes(8, "big") + info
    salt = HKDF(SHA256(), length=32, salt=b"", info=framed).derive(bytes(range(32)))
    records = [b"one", b"two", b"three"]
    marks = sorted(
        int.from_bytes(
            hashlib.blake2b(record, key=salt, person=b"fedpriv mark v1", digest_size=8).digest(), "little"
        )
        for record in records
    )
    parts = (b"fedpriv/ledger/marks/v1", b"".join(mark.to_bytes(8, "little") for mark in marks))
    whole = hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()
    name = hashlib.blake2b(whole + b"/2026", key=salt, person=b"fedpriv name v1", digest_size=32).hexdigest()

    found = seen(ledger, records, "2026")
    assert found.marks.kept.tolist() == marks
    assert found.marks.digest() == whole
    assert found.dataset == name


def test_the_salt_comes_from_the_seed_and_does_not_give_it_away(ledger: Ledger, signer: SigningKey) -> None:
    assert len(salt_of(ledger)) == 32
    assert salt_of(ledger) not in (signer.seed, signer.public)
