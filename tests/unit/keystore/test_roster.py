"""The list of all parties."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.crypto import SigningKey
from fedpriv.errors import UsageError
from fedpriv.keystore import PublicIdentity, Roster, load_roster, write_roster
from fedpriv.keystore.roster import _roster

NAMES = ("hospital-a", "hospital-b", "Clinic_3")
MEMBERS = tuple(
    PublicIdentity(name, SigningKey.from_seed(bytes([number]) * 32).public)
    for number, name in enumerate(NAMES, start=1)
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "roster.toml"


@pytest.fixture
def text(path: Path) -> str:
    """A sound roster, which each test breaks in one place."""
    write_roster(path, MEMBERS)
    sound = path.read_text()
    path.unlink()
    return sound


def assert_refused(path: Path, text: str, words: str) -> None:
    path.write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        load_roster(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint


def test_a_roster_comes_back_in_its_order(path: Path) -> None:
    written = write_roster(path, MEMBERS)
    assert load_roster(path) == written == Roster(MEMBERS)
    assert written.keys == {1: MEMBERS[0].key, 2: MEMBERS[1].key, 3: MEMBERS[2].key}
    assert written.names == dict(enumerate(NAMES, start=1))
    assert written.client_of(MEMBERS[2].key) == 3
    with pytest.raises(UsageError, match="does not list"):
        written.client_of(SigningKey.from_seed(bytes(32)).public)


def test_a_roster_is_never_overwritten(path: Path) -> None:
    write_roster(path, MEMBERS)
    with pytest.raises(UsageError, match="never overwritten"):
        write_roster(path, MEMBERS[::-1])
    assert load_roster(path) == Roster(MEMBERS)


def test_the_fingerprint_tells_every_change(path: Path) -> None:
    one, two, three = MEMBERS
    key = SigningKey.from_seed(bytes(32)).public
    rosters = [
        Roster(MEMBERS),
        Roster((two, one, three)),
        Roster((one, two, PublicIdentity(three.name, key))),
        Roster((one, two, PublicIdentity("Clinic_4", three.key))),
        Roster((PublicIdentity(two.name, one.key), PublicIdentity(one.name, two.key), three)),
        Roster((*MEMBERS, PublicIdentity("new", key))),
    ]
    fingerprints = {roster.fingerprint for roster in rosters}
    assert len(fingerprints) == len(rosters)
    assert all(len(fingerprint.replace(" ", "")) == 48 for fingerprint in fingerprints)


def test_fewer_than_three_are_refused(path: Path) -> None:
    for count in range(3):
        with pytest.raises(UsageError, match="each learns the other's part"):
            write_roster(path, MEMBERS[:count])
    assert not path.exists()


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (PublicIdentity("new", MEMBERS[0].key), "Clients 1 and 4 of the roster have one key"),
        (PublicIdentity("HOSPITAL-B", SigningKey.from_seed(bytes(32)).public), "Clients 2 and 4 .* called"),
    ],
)
def test_nobody_is_listed_twice(path: Path, member: PublicIdentity, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        write_roster(path, (*MEMBERS, member))
    assert not path.exists()


def test_a_duplicate_in_a_file_is_refused(path: Path, text: str) -> None:
    again = text[text.index("[[client]]") :]
    assert_refused(path, text + again, "Clients 1 and 4 of the roster have one key")


SMALL_ORDER = "A" * 43 + "="


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("version = 1", "", "does not say its version"),
        ("version = 1", "version = true", "does not say its version"),
        ("version = 1", "version = 2", "is of version 2"),
        ("version = 1", "version = 1\nthreshold = 2", "unknown field 'threshold'"),
        ("[[client]]", "[[clients]]", "no field 'client'"),
        ('name = "hospital-b"\n', "", "Client 2 of the roster has no field 'name'"),
        ('name = "hospital-b"', 'name = "hospital-b"\nrole = 1', "Client 2 .* unknown field 'role'"),
        ('name = "hospital-b"', "name = 2", "Client 2 .* no text"),
        ('name = "hospital-b"', 'name = "hospital b"', "cannot be the name"),
        ("iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=", SMALL_ORDER, "Client 1 .* small order"),
        ("iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=", "iojj", "Client 1 .* not a key of 32 bytes"),
        ("b1w=", "b1x=", "not a key of 32 bytes"),
        ("[[client]]", "[[client", "not valid TOML"),
    ],
)
def test_a_changed_file_is_refused(path: Path, text: str, old: str, new: str, words: str) -> None:
    assert old in text
    count = text.count(old) if old.startswith("[[client]]") else 1
    assert_refused(path, text.replace(old, new, count), words)


@pytest.mark.parametrize("clients", ["1", '"a"', "[1, 2, 3]", "{ name = 1 }", "[]"])
def test_clients_that_are_no_list_of_tables(path: Path, clients: str) -> None:
    path.write_text(f"version = 1\nclient = {clients}\n")
    with pytest.raises(UsageError):
        load_roster(path)


_VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from([m.name for m in MEMBERS]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["version", "client", "name", "key", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["version", "client", "x"]), _VALUE), st.booleans())
def test_no_table_breaks_the_reader(values: dict[str, object], versioned: bool) -> None:
    with pytest.raises(UsageError):
        _roster(values | ({"version": 1} if versioned else {}))


def test_no_roster_there(path: Path) -> None:
    with pytest.raises(UsageError, match="There is no roster"):
        load_roster(path)
