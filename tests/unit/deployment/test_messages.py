"""Requests and answers: what is written is read again, and anything else is a `DecodeError`."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parties.deployed import SERVER, identity

from fedpriv.deployment.messages import (
    Answer,
    Prepare,
    Refusal,
    Request,
    Sign,
    Step,
    Upload,
    Withdraw,
    decode_answer,
    decode_request,
    encode_request,
    encode_requests,
)
from fedpriv.deployment.transport import Parts
from fedpriv.errors import DecodeError
from fedpriv.ledger import Ledger
from fedpriv.ledger.home import now
from fedpriv.ledger.rows import Row

DATASET = "ab" * 32
PARAMETERS = 5


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[Row, ...]:
    path: Path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    with closing(Ledger.open(path, identity(SERVER), now)) as ledger:
        ledger.set_budget(DATASET, "reviews", 8.0, 1e-5)
        return tuple(ledger.rows(DATASET))


@pytest.fixture(scope="module")
def upload(rows: tuple[Row, ...]) -> Upload:
    return Upload(rows, np.linspace(-1, 1, PARAMETERS, dtype=np.float32), {"clip": 0.1})


@pytest.fixture(scope="module")
def requests(rows: tuple[Row, ...], upload: Upload) -> dict[str, Request]:
    step = Step(b"a" * 32, b"r" * 16, 7, True, b"c" * 32, b"message")
    return {
        "prepare": Prepare(b"a" * 32, b"n" * 32, rows, begins=True),
        "step": step,
        "upload": replace(step, opens=False, upload=upload),
        "sign": Sign(b"a" * 32, b"r" * 16, rows),
        "withdraw": Withdraw(b"a" * 32, b"r" * 16, 7, ()),
    }


NAMES = ("prepare", "step", "upload", "sign", "withdraw")


def decoded(parts: Parts) -> Request:
    return decode_request(parts, dataset=DATASET, parameters=PARAMETERS)


@pytest.mark.parametrize("name", NAMES)
def test_a_request_is_read_as_it_was_written(requests: dict[str, Request], name: str) -> None:
    request = requests[name]
    found = decoded(encode_request(request))
    if isinstance(request, Step) and request.upload is not None:
        assert isinstance(found, Step)
        assert found.upload is not None
        assert np.array_equal(found.upload.parameters, request.upload.parameters)
        assert (found.upload.rows, found.upload.state) == (request.upload.rows, request.upload.state)
        found, request = replace(found, upload=None), replace(request, upload=None)
    assert found == request


def test_the_model_that_all_clients_are_sent_is_written_once(requests: dict[str, Request]) -> None:
    one = requests["upload"]
    assert isinstance(one, Step)
    parts = encode_requests({1: one, 2: replace(one, message=b"other"), 3: requests["step"]})
    assert parts[1].blobs is parts[2].blobs
    assert parts[2].values["message"] == b"other"
    assert parts[3].blobs == ()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("other", [None, True, 7, -1, "text", b"", b"x" * 31, b"x" * 33, 1.5, [], "missing"])
def test_a_value_that_is_missing_or_of_another_kind_is_refused(
    requests: dict[str, Request], name: str, other: Any
) -> None:
    parts = encode_request(requests[name])
    for field, value in parts.values.items():
        free = type(value) is type(other) and field in {"round", "opens", "begins", "message"}
        if free:  # any number, truth value and message of the sum may stand there
            continue
        values = {key: given for key, given in parts.values.items() if key != field or other != "missing"}
        if other != "missing":
            values[field] = other
        with pytest.raises(DecodeError):
            decoded(Parts(values, parts.blobs))


@pytest.mark.parametrize("name", NAMES)
def test_a_message_that_says_more_or_less_is_refused(requests: dict[str, Request], name: str) -> None:
    parts = encode_request(requests[name])
    for spoilt in (
        Parts({**parts.values, "extra": 1}, parts.blobs),
        Parts(parts.values, (*parts.blobs, b"")),
        Parts({**parts.values, "asks": "rows"}, parts.blobs),
        *([Parts(parts.values, parts.blobs[:-1])] if parts.blobs else []),
    ):
        with pytest.raises(DecodeError):
            decoded(spoilt)


@pytest.mark.parametrize("size", [0, 1, 4 * PARAMETERS - 1, 4 * PARAMETERS + 1, 8 * PARAMETERS])
def test_a_model_of_another_size_is_refused(requests: dict[str, Request], size: int) -> None:
    parts = encode_request(requests["upload"])
    with pytest.raises(DecodeError, match="5 parameters have four each"):
        decoded(Parts(parts.values, (parts.blobs[0], bytes(size))))


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"[]",
        b"7",
        b'{"clip":1}',
        b'{"clip":"one"}',
        b'{"clip":null}',
        b'{"clip":"0x1p+99999"}',
        b'{"clip":',
    ],
)
def test_a_state_that_is_none_is_refused(requests: dict[str, Request], state: bytes) -> None:
    parts = encode_request(requests["upload"])
    with pytest.raises(DecodeError):
        decoded(Parts({**parts.values, "state": state}, parts.blobs))


NAMED = [
    *("asks", "agreement", "nonce", "begins", "run", "round", "opens", "context", "message", "state"),
    *("party", "signature", "count", "error", "text", "hint", "other"),
]

VALUES = st.dictionaries(
    st.sampled_from(NAMED),
    st.one_of(
        st.integers(-(2**63), 2**63 - 1),
        st.booleans(),
        st.binary(max_size=40),
        st.binary(min_size=32, max_size=32),
        st.binary(min_size=16, max_size=16),
        st.sampled_from(["prepare", "step", "sign", "withdraw"]),
        st.text(max_size=8),
    ),
)
BLOBS = st.lists(
    st.one_of(
        st.binary(max_size=60), st.sampled_from([b"[]", b"[{}]", b"[[", b"[" * 5000, b'[{"seq":0}]', b"\xff"])
    ),
    max_size=3,
).map(tuple)


@given(VALUES, BLOBS)
def test_whatever_comes_is_a_message_or_a_decode_error(
    values: dict[str, Any], blobs: tuple[bytes, ...]
) -> None:
    parts = Parts(values, blobs)
    for read in (decoded, decode_answer):
        with suppress(DecodeError):
            read(parts)


@given(name=st.sampled_from(NAMES), data=st.data())
def test_a_row_or_a_byte_that_was_changed_on_the_way_is_a_message_or_a_decode_error(
    requests: dict[str, Request], name: str, data: st.DataObject
) -> None:
    parts = encode_request(requests[name])
    if not parts.blobs:
        return
    blob = bytearray(parts.blobs[0])
    place = data.draw(st.integers(0, len(blob) - 1))
    blob[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(blob)))
    for changed in (bytes(blob), bytes(blob[:cut])):
        with suppress(DecodeError):
            decoded(Parts(parts.values, (changed, *parts.blobs[1:])))


@pytest.mark.parametrize(
    "answer",
    [Answer(0), Answer(3, b"s" * 64), Answer(3, b"", (b"one",)), Answer(3, b"s", (b"", b"two", b"three"))],
)
def test_an_answer_is_read_as_it_was_written(answer: Answer) -> None:
    assert decode_answer(answer.to_parts()) == answer


def test_a_refusal_is_told_from_an_answer() -> None:
    parts = Parts({"error": "BudgetExceeded", "text": "No more.", "hint": ""})
    assert decode_answer(parts) == Refusal("BudgetExceeded", "No more.", "")
    assert str(Refusal("failed", "", "")) == "Its app failed; the node's log says why."
    with pytest.raises(DecodeError, match="says more"):
        decode_answer(Parts({**parts.values, "party": 3}))


@pytest.mark.parametrize("count", [-1, 0, 2, 2**62])
def test_an_answer_with_another_number_of_messages_than_it_says_is_refused(count: int) -> None:
    parts = Answer(3, b"", (b"one",)).to_parts()
    with pytest.raises(DecodeError, match="as many messages"):
        decode_answer(Parts({**parts.values, "count": count}, parts.blobs))
