"""Messages of the protocol in Flower's records: small parts in a ConfigRecord, vectors in an ArrayRecord."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fedpriv.crypto import digest, frame
from fedpriv.errors import DecodeError, UsageError

if TYPE_CHECKING:
    from flwr.app import RecordDict

__all__ = ["Reply", "RoundRequest", "content_digest"]

_RECORD: Final = "fedpriv"
_PARTS: Final = "fedpriv-parts"
_DOMAIN: Final = "fedpriv flower content v1"
_BYTES: Final = "fedpriv.bytes"
"""How the bytes of a part are in an array: as they are, so that reading them cannot fail."""
_CONTEXT_BYTES: Final = 32


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

        if _RECORD in self.content:
            raise UsageError(f"A record called {_RECORD!r} is the protocol's own.", hint="Rename yours.")
        head = {"round": self.round, "opens": self.opens, "context": self.context, "message": self.message}
        return RecordDict({**self.content, _RECORD: ConfigRecord(head)})

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
        content = RecordDict({name: record for name, record in records.items() if name != _RECORD})
        return cls(content=content, **values)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a node answers: which client it is, and the messages of its answer."""

    client: int
    messages: Sequence[bytes]

    def to_records(self) -> RecordDict:
        """The content of a Flower message."""
        from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

        first, *parts = self.messages
        records = RecordDict({_RECORD: ConfigRecord({"client": self.client, "message": first})})
        if parts:  # an upload's vectors: Flower cuts arrays into chunks, and nothing else
            arrays = {str(i): Array("uint8", (len(part),), _BYTES, part) for i, part in enumerate(parts)}
            records[_PARTS] = ArrayRecord(arrays)
        return records

    @classmethod
    def of(cls, records: RecordDict) -> Reply:
        """Read what `to_records` gave.

        Raises:
            DecodeError: it is something else.
        """
        from flwr.app import ArrayRecord

        values = _head(records, {"client": int, "message": bytes})
        parts = records.get(_PARTS)
        messages = [values["message"]]
        if isinstance(parts, ArrayRecord):
            if set(parts) != {str(i) for i in range(len(parts))}:
                raise DecodeError("The parts of the answer are not numbered from 0.")
            messages += [bytes(parts[str(i)].data) for i in range(len(parts))]
        if len(records) != 1 + isinstance(parts, ArrayRecord):
            raise DecodeError("The answer holds something beside the protocol's messages.")
        return cls(values["client"], tuple(messages))


def _head(records: RecordDict, kinds: dict[str, type]) -> dict[str, Any]:
    """The fields of the protocol's own record; every one, of its kind, and no other."""
    head = records.config_records.get(_RECORD)
    if head is None or {name: type(value) for name, value in head.items()} != kinds:
        raise DecodeError("The message is none of this protocol.")
    return dict(head)
