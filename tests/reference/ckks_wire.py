"""The messages of the summation under CKKS as maps, as protocols/ckks/messages.md lists their fields."""

from __future__ import annotations

from typing import Any

from reference.secagg_wire import Message, pack_message, require, unpack_message

ID, NUMBER, BIN = "party", "number", "bytes"
# The fields of each type in order.  A list is [what each item is], a row of a list a tuple, a map is its
# fields, a byte string its length.
SEAL: Message = {"client": ID, "digests": BIN, "signature": 64}
KEY: Message = {"number": NUMBER, "members": [ID], "public": BIN, "signatures": [(ID, 64)]}
TYPES: dict[str, Message] = {
    "advertise-request": {"number": NUMBER},
    "deal-request": {"number": NUMBER, "keys": [(ID, 32, 64)]},
    "commit-request": {"number": NUMBER, "members": [ID], "shares": [(ID, BIN)]},
    "reveal-request": {"number": NUMBER, "commitments": [(ID, 32, 64)]},
    "confirm-request": {"number": NUMBER, "parts": [(ID, BIN)]},
    "upload-request": {"round": NUMBER, "key": (None, KEY)},
    "open-request": {"round": NUMBER, "key": 32, "seals": [SEAL], "chunk": NUMBER, "chunks": [(BIN, [BIN])]},
}


def packed(message: Message, session: bytes) -> bytes:
    """A message from its type and fields."""
    fields = {name: value for name, value in message.items() if name != "type"}
    return pack_message({"type": message["type"], "session": session, "version": 1, **fields})


def unpacked_request(data: bytes, session: bytes) -> Message:
    """The type and fields of a request; refused if it is none, or of another session (CK-17)."""
    message = unpack_message(data)
    kind = message.get("type")
    require(isinstance(kind, str) and kind in TYPES, "decode")
    fields = TYPES[str(kind)]
    require(list(message) == ["type", "session", "version", *fields], "decode")
    require(_fits(message["session"], 32) and message["version"] == 1, "decode")
    require(all(_fits(message[name], shape) for name, shape in fields.items()), "decode")
    require(message["session"] == session, "CK-17")
    return {name: value for name, value in message.items() if name not in ("session", "version")}


def _fits(value: Any, shape: Any) -> bool:
    if shape in (ID, NUMBER):
        most = 2**20 if shape == ID else 2**63 - 2
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
    if shape == BIN or isinstance(shape, int):
        return isinstance(value, bytes) and (shape == BIN or len(value) == shape)
    if isinstance(shape, dict):
        if not isinstance(value, dict) or list(value) != list(shape):
            return False
        return all(_fits(value[name], part) for name, part in shape.items())
    if isinstance(shape, tuple) and shape[0] is None:
        return value is None or _fits(value, shape[1])
    if not isinstance(value, list):
        return False
    if isinstance(shape, tuple):
        return len(value) == len(shape) and all(map(_fits, value, shape))
    return all(_fits(item, shape[0]) for item in value) and _ascend(value)


def _ascend(items: list[Any]) -> bool:
    """Whether the parties that a list names come in order, each once; of seals CK-12 says it."""
    named = [item[0] if isinstance(item, list) else item for item in items]
    parties = [party for party in named if isinstance(party, int)]
    return parties == sorted(set(parties))
