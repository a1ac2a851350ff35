"""One content has one digest, and what is not a message of the protocol is a `DecodeError`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("flwr", reason="needs fedpriv[flower]")

from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from fedpriv.errors import DecodeError, UsageError
from fedpriv.flower.records import Reply, RoundRequest, content_digest


def content(**changes: object) -> RecordDict:
    arrays = {"w": Array(np.arange(4.0)), "b": Array(np.zeros(1, dtype=np.float32))}
    records = {"model": ArrayRecord(arrays), "how": ConfigRecord({"steps": 1, "name": "x"}), **changes}
    return RecordDict(records)  # type: ignore[arg-type]


def test_the_order_of_records_and_settings_does_not_count() -> None:
    how = ConfigRecord({"name": "x", "steps": 1})
    turned = RecordDict({"how": how, "model": content()["model"]})
    assert content_digest(turned) == content_digest(content())


@pytest.mark.parametrize(
    "changes",
    [
        {"model": ArrayRecord({"w": Array(np.arange(4.0))})},
        {"model": ArrayRecord({"b": Array(np.zeros(1, dtype=np.float32)), "w": Array(np.arange(4.0))})},
        {"model": ArrayRecord({"w": Array(np.arange(4.0).reshape(2, 2)), "b": Array(np.zeros(1))})},
        {"how": ConfigRecord({"steps": True, "name": "x"})},
        {"how": ConfigRecord({"steps": 1.0, "name": "x"})},
        {"how": ConfigRecord({"steps": 1, "name": "x", "more": b""})},
        {"how": MetricRecord({"steps": 1})},
        {"extra": ConfigRecord()},
    ],
)
def test_another_content_has_another_digest(changes: dict[str, object]) -> None:
    assert content_digest(content(**changes)) != content_digest(content())


def test_requests_and_replies_come_back_as_they_went() -> None:
    request = RoundRequest(3, True, bytes(32), b"ask", content())
    found = RoundRequest.of(request.to_records())
    assert (found.round, found.opens, found.context, found.message) == (3, True, bytes(32), b"ask")
    assert content_digest(found.content) == content_digest(content())
    for messages in ((b"one",), (b"head", b"part 0", b"", b"part 2")):
        assert Reply.of(Reply(7, messages).to_records()) == Reply(7, messages)


def test_the_protocol_s_record_is_not_the_user_s() -> None:
    with pytest.raises(UsageError, match="protocol's own"):
        RoundRequest(1, True, bytes(32), b"", content(fedpriv=ConfigRecord())).to_records()


def _other_numbers(records: RecordDict) -> None:
    records["fedpriv-parts"] = ArrayRecord({"1": Array("uint8", (1,), "fedpriv.bytes", b"x")})


@pytest.mark.parametrize(
    "change",
    [
        lambda records: records.pop("fedpriv"),
        lambda records: records.update(more=ConfigRecord()),
        lambda records: records.update({"fedpriv-parts": ConfigRecord()}),
        lambda records: records["fedpriv"].update(client="1"),
        lambda records: records["fedpriv"].update(client=True),
        lambda records: records["fedpriv"].pop("message"),
        _other_numbers,
    ],
)
def test_an_answer_in_another_form_is_no_message(change: Callable[[RecordDict], object]) -> None:
    records = Reply(1, (b"head", b"part")).to_records()
    change(records)
    with pytest.raises(DecodeError):
        Reply.of(records)
