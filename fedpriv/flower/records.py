"""Messages of the protocol in Flower's records: small parts in a ConfigRecord, vectors in an ArrayRecord."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fedpriv.crypto import digest, frame
from fedpriv.errors import DecodeError, UsageError

if TYPE_CHECKING:
    from flwr.app import ArrayRecord, RecordDict

__all__ = ["PARTS", "RECORD", "Reply", "RoundRequest", "bytes_of", "content_digest", "to_arrays"]

RECORD: Final = "fedpriv"
"""The name of the protocol's own record in a message."""
PARTS: Final = "fedpriv-parts"
"""The name of the record of large byte strings beside it."""
_DOMAIN: Final = "fedpriv flower content v1"
_BYTES: Final = "fedpriv.bytes"
"""How the bytes of a part are in an array: as they are, so that reading them cannot fail."""
_CONTEXT_BYTES: Final = 32


def to_arrays(parts: Sequence[bytes]) -> ArrayRecord:
    """Large byte strings, numbered from 0, as arrays: Flower cuts arrays into chunks, and nothing else."""
    from flwr.app import Array, ArrayRecord

    return ArrayRecord({str(i): Array("uint8", (len(part),), _BYTES, part) for i, part in enumerate(parts)})


def bytes_of(arrays: ArrayRecord) -> tuple[bytes, ...]:
    """The byte strings that `to_arrays` was given.

    Raises:
        DecodeError: it is something else.
    """
    if set(arrays) != {str(i) for i in range(len(arrays))}:
        raise DecodeError("The parts of the message are not numbered from 0.")
    parts = [arrays[str(i)] for i in range(len(arrays))]
    for part in parts:
        if (part.dtype, part.stype, tuple(part.shape)) != ("uint8", _BYTES, (len(part.data),)):
            raise DecodeError("A part of the message is not a byte string, or is cut off.")
    return tuple(bytes(part.data) for part in parts)


def content_digest(content: RecordDict) -> bytes:
    """32 bytes for one content: what the clients train on, bound into their masks (SA-4).

    A server that shows clients different models then gets no sum of theirs.
    """
    from flwr.app import ArrayRecord

    parts = []
    for name, record in sorted(content.items()):
        items = []
        if isinstance(record, ArrayRecord):
            for key, array in record.items():  # their order counts: it is that of the layers
                shape = ",".join(map(str, array.shape)).encode()
                items += [key.encode(), array.dtype.encode(), shape, array.stype.encode(), bytes(array.data)]
        else:
            items = [part.encode() for key in sorted(record) for part in (key, repr(record[key]))]
        parts += [name.encode(), type(record).__name__.encode(), frame(*items)]
    return digest(_DOMAIN, *parts)


@dataclass(frozen=True, slots=True)
class RoundRequest:
    """What the server sends a node in one exchange.

    Attributes:
        round: number of the round.
        opens: whether it is the round's first message to this node.
        context: 32 bytes, the digest of what is trained on in this round.
        message: the request of the secure sum.
        content: what is trained on; with the request for the upload, and empty before.
    """

    round: int
    opens: bool
    context: bytes
    message: bytes
    content: RecordDict

    def to_records(self) -> RecordDict:
        """The content of a Flower message."""
        from flwr.app import ConfigRecord, RecordDict

        if RECORD in self.content:
            raise UsageError(f"A record called {RECORD!r} is the protocol's own.", hint="Rename yours.")
        head = {"round": self.round, "opens": self.opens, "context": self.context, "message": self.message}
        return RecordDict({**self.content, RECORD: ConfigRecord(head)})

    @classmethod
    def of(cls, records: RecordDict) -> RoundRequest:
        """Read what `to_records` gave.

        Raises:
            DecodeError: it is something else.
        """
        from flwr.app import RecordDict

        values = _head(records, {"round": int, "opens": bool, "context": bytes, "message": bytes})
        if len(values["context"]) != _CONTEXT_BYTES:
            raise DecodeError("The server's message has a context of another length.")
        content = RecordDict({name: record for name, record in records.items() if name != RECORD})
        return cls(content=content, **values)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a node answers: which client it is, and the messages of its answer."""

    client: int
    messages: Sequence[bytes]

    def to_records(self) -> RecordDict:
        """The content of a Flower message."""
        from flwr.app import ConfigRecord, RecordDict

        first, *parts = self.messages
        records = RecordDict({RECORD: ConfigRecord({"client": self.client, "message": first})})
        if parts:  # an upload's vectors
            records[PARTS] = to_arrays(parts)
        return records

    @classmethod
    def of(cls, records: RecordDict) -> Reply:
        """Read what `to_records` gave.

        Raises:
            DecodeError: it is something else.
        """
        from flwr.app import ArrayRecord

        values = _head(records, {"client": int, "message": bytes})
        parts = records.get(PARTS)
        messages = [values["message"]]
        if isinstance(parts, ArrayRecord):
            messages += bytes_of(parts)
        if len(records) != 1 + isinstance(parts, ArrayRecord):
            raise DecodeError("The answer holds something beside the protocol's messages.")
        return cls(values["client"], tuple(messages))


def _head(records: RecordDict, kinds: dict[str, type]) -> dict[str, Any]:
    """The fields of the protocol's own record; every one, of its kind, and no other."""
    head = records.config_records.get(RECORD)
    if head is None or {name: type(value) for name, value in head.items()} != kinds:
        raise DecodeError("The message is none of this protocol.")
    return dict(head)
