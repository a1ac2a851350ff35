"""What the server asks a node, and what the node answers, as parts that a transport can move."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.crypto import SigningKey, canonical_json, frame, strict_json, verify
from fedpriv.deployment.transport import Parts, Value
from fedpriv.errors import DecodeError, FedprivError, IntegrityError
from fedpriv.ledger.bundle import read_row
from fedpriv.ledger.rows import Row

__all__ = [
    "Answer",
    "Prepare",
    "Refusal",
    "Request",
    "Sign",
    "Step",
    "Upload",
    "Withdraw",
    "decode_answer",
    "decode_request",
    "encode_request",
    "encode_requests",
    "hello",
    "is_hello",
]

_NONCE_BYTES: Final = 32
_RUN_BYTES: Final = 16
_DIGEST_BYTES: Final = 32
_HELLO: Final = "fedpriv/deployment hello/v1"


@dataclass(frozen=True, slots=True)
class Prepare:
    """Who are you, and will you take part?

    Attributes:
        agreement: digest of what all parties agreed on, 32 bytes.
        nonce: 32 fresh bytes, to be signed.
        rows: the server's ledger, from its first row.
        begins: the run begins with this, so that the node tries its data, its model and its budget first.
    """

    agreement: bytes
    nonce: bytes
    rows: tuple[Row, ...] = field(repr=False)
    begins: bool


@dataclass(frozen=True, slots=True)
class Upload:
    """What a client needs to work in a round.

    Attributes:
        rows: the server's ledger, which ends with the round's reservation.
        parameters: the model, float32, shape ``(parameters,)``.
        state: what the clients' work keeps between rounds (`LocalWork.state_dict`).
    """

    rows: tuple[Row, ...] = field(repr=False)
    parameters: NDArray[np.float32] = field(repr=False)
    state: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Step:
    """One request of the sum's protocol.

    Attributes:
        round: its number.
        opens: whether it is the round's first message to this node.
        context: 32 bytes that the round is bound to (`federation.round_server.round_context`).
        message: the request.
        upload: where the client's vector is asked for.
    """

    agreement: bytes
    run: bytes
    round: int
    opens: bool
    context: bytes
    message: bytes = field(repr=False)
    upload: Upload | None = None


@dataclass(frozen=True, slots=True)
class Sign:
    """Sign what was released since, and write down what became of your rounds."""

    agreement: bytes
    run: bytes
    rows: tuple[Row, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Give your word that nothing of a round left you, where it is so."""

    agreement: bytes
    run: bytes
    round: int
    rows: tuple[Row, ...] = field(repr=False)


Request = Prepare | Step | Sign | Withdraw


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node answers.

    Attributes:
        party: who it is: a client's number, or 0 for the key authority.
        signature: of a `Prepare`, over its nonce; else over the last row of the server's ledger that it was
            shown, or its withdrawal; empty where there is none to give.
        messages: its part of the protocol.
    """

    party: int
    signature: bytes = b""
    messages: tuple[bytes, ...] = field(default=(), repr=False)

    def to_parts(self) -> Parts:
        """As parts: the first message among the values, the vectors that may follow it as blobs."""
        values: dict[str, Value] = {
            "party": self.party,
            "signature": self.signature,
            "count": len(self.messages),
        }
        return Parts(values | {"message": self.messages[0] if self.messages else b""}, self.messages[1:])


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a node does not answer: the kind of error, what it says, and what to do."""

    error: str
    text: str
    hint: str

    @classmethod
    def of(cls, error: FedprivError, home: Path) -> Refusal:
        """What the server is told of an error: its words, without where the node's files lie (DE-8).

        Args:
            error: of the run.
            home: the node's own folder.
        """
        place = f"{home.absolute()}{os.sep}"
        return cls(type(error).__name__, str(error).replace(place, ""), error.hint.replace(place, ""))

    def to_parts(self) -> Parts:
        """As parts."""
        return Parts({"error": self.error, "text": self.text, "hint": self.hint})

    def __str__(self) -> str:
        return self.text or "Its app failed; the node's log says why."


def hello(key: SigningKey, asked: Prepare) -> bytes:
    """The signature, 64 bytes, by which a party says who it is (DE-7)."""
    return key.sign(_HELLO, frame(asked.agreement, asked.nonce))


def is_hello(public: bytes, asked: Prepare, signature: bytes) -> bool:
    """Whether it is the word of the party with this key, given for this question."""
    return verify(public, _HELLO, frame(asked.agreement, asked.nonce), signature)


def encode_request(request: Request) -> Parts:
    """A request as parts."""
    return encode_requests({0: request})[0]


def encode_requests(requests: Mapping[int, Request]) -> dict[int, Parts]:
    """Requests as parts, by whom they are for; the model and the rows that they share are there once."""
    blobs: dict[int, tuple[bytes, ...]] = {}
    parts = {}
    for whom, request in requests.items():
        carried = request.upload if isinstance(request, Step) else request.rows
        if id(carried) not in blobs:
            blobs[id(carried)] = _blobs(carried)
        parts[whom] = Parts(_values(request), blobs[id(carried)])
    return parts


def _values(request: Request) -> dict[str, Value]:
    values: dict[str, Value] = {"agreement": request.agreement}
    if isinstance(request, Prepare):
        return values | {"asks": "prepare", "nonce": request.nonce, "begins": request.begins}
    values["run"] = request.run
    if isinstance(request, Sign):
        return values | {"asks": "sign"}
    if isinstance(request, Withdraw):
        return values | {"asks": "withdraw", "round": request.round}
    values |= {"asks": "step", "round": request.round, "opens": request.opens}
    values |= {"context": request.context, "message": request.message}
    if request.upload is not None:
        state = {name: float(value).hex() for name, value in request.upload.state.items()}
        values["state"] = canonical_json(state)
    return values


def _blobs(carried: Upload | tuple[Row, ...] | None) -> tuple[bytes, ...]:
    if carried is None:
        return ()
    if isinstance(carried, Upload):
        return (_rows_bytes(carried.rows), carried.parameters.astype("<f4").tobytes())
    return (_rows_bytes(carried),)


def decode_request(parts: Parts, *, dataset: str, parameters: int) -> Request:
    """Read what `encode_request` gave.

    Args:
        parts: as they came.
        dataset: the data set that the rows are about.
        parameters: how many the model has.

    Raises:
        DecodeError: it is something else.
    """
    given = _Given(parts)
    asks = given.take("asks", str)
    agreement = given.fixed("agreement", _DIGEST_BYTES)
    run = b"" if asks == "prepare" else given.fixed("run", _RUN_BYTES)
    request: Request
    if asks == "prepare":
        nonce, begins = given.fixed("nonce", _NONCE_BYTES), given.take("begins", bool)
        request = Prepare(agreement, nonce, given.rows(dataset), begins)
    elif asks == "sign":
        request = Sign(agreement, run, given.rows(dataset))
    elif asks == "withdraw":
        request = Withdraw(agreement, run, given.take("round", int), given.rows(dataset))
    elif asks == "step":
        upload = given.upload(dataset, parameters) if parts.blobs else None
        request = Step(
            agreement=agreement,
            run=run,
            round=given.take("round", int),
            opens=given.take("opens", bool),
            context=given.fixed("context", _DIGEST_BYTES),
            message=given.take("message", bytes),
            upload=upload,
        )
    else:
        raise DecodeError(f"A run's server asks for nothing called {asks!r}.")
    given.check_empty()
    return request


def decode_answer(parts: Parts) -> Answer | Refusal:
    """Read what a node sent.

    Raises:
        DecodeError: it is neither an answer nor a refusal.
    """
    given = _Given(parts)
    if "error" in parts.values:
        refusal = Refusal(given.take("error", str), given.take("text", str), given.take("hint", str))
        given.check_empty()
        return refusal
    first, count = given.take("message", bytes), given.take("count", int)
    messages = (*((first,) if count else ()), *given.all_blobs())
    answer = Answer(given.take("party", int), given.take("signature", bytes), messages)
    if len(messages) != count or not (count or first == b""):
        raise DecodeError("The answer does not hold as many messages as it says.")
    given.check_empty()
    return answer


class _Given:
    """The parts of a message that are still to be read."""

    def __init__(self, parts: Parts) -> None:
        self._values = dict(parts.values)
        self._blobs = list(parts.blobs)

    def take(self, name: str, kind: type) -> Any:
        value = self._values.pop(name, None)
        if type(value) is not kind:
            raise DecodeError(f"The message has no {name} of the kind {kind.__name__}.")
        return value

    def fixed(self, name: str, size: int) -> bytes:
        value = bytes(self.take(name, bytes))
        if len(value) != size:
            raise DecodeError(f"The message's {name} has {len(value)} bytes and not {size}.")
        return value

    def blob(self) -> bytes:
        if not self._blobs:
            raise DecodeError("The message ends before it says all.")
        return self._blobs.pop(0)

    def all_blobs(self) -> tuple[bytes, ...]:
        blobs, self._blobs = tuple(self._blobs), []
        return blobs

    def rows(self, dataset: str) -> tuple[Row, ...]:
        entries = _json(self.blob(), "rows")
        if not isinstance(entries, list):
            raise DecodeError("The rows of the server's ledger are no list.")
        try:
            return tuple(read_row(dataset, entry) for entry in entries)
        except IntegrityError as error:
            raise DecodeError(f"A row of the server's ledger is malformed: {error}.") from None

    def upload(self, dataset: str, parameters: int) -> Upload:
        state = _json(self.take("state", bytes), "state")
        rows, model = self.rows(dataset), self.blob()
        if len(model) != 4 * parameters:
            raise DecodeError(f"The model has {len(model)} bytes; {parameters} parameters have four each.")
        try:
            numbers = {str(name): float.fromhex(value) for name, value in state.items()}
        except (AttributeError, OverflowError, TypeError, ValueError):
            raise DecodeError("The state of the clients' work is malformed.") from None
        return Upload(rows, np.frombuffer(model, dtype="<f4").astype(np.float32), numbers)

    def check_empty(self) -> None:
        if self._values or self._blobs:
            raise DecodeError("The message says more than it should.")


def _rows_bytes(rows: Sequence[Row]) -> bytes:
    return json.dumps([row.to_dict() for row in rows], separators=(",", ":")).encode()


def _json(data: bytes, what: str) -> Any:
    try:
        return strict_json.parse(data)
    except DecodeError as error:
        raise DecodeError(f"The {what} of the message is not valid JSON: {error}") from None
