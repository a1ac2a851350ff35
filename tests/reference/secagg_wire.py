"""The encoding of the secure summation protocol (section 6 of its spec, messages.md): MessagePack by hand."""

from __future__ import annotations

from typing import Any

Message = dict[str, Any]


class Refused(Exception):  # noqa: N818 - the spec's word
    """A message is refused; ``clause`` is the clause it breaks, or 'decode'."""

    def __init__(self, clause: str) -> None:
        super().__init__(clause)
        self.clause = clause


def require(condition: bool, clause: str) -> None:
    if not condition:
        raise Refused(clause)


def pack_message(value: Any) -> bytes:
    """MessagePack in its shortest form, for what the messages contain."""
    if isinstance(value, int):
        if value < 128:
            return bytes([value])
        return b"\xcc" + bytes([value]) if value < 256 else b"\xcd" + value.to_bytes(2, "big")
    if isinstance(value, str):
        data = value.encode()
        return bytes([0xA0 + len(data)]) + data if len(data) < 32 else b"\xd9" + bytes([len(data)]) + data
    if isinstance(value, bytes):
        return _head(len(value), ((0xC4, 1), (0xC5, 2), (0xC6, 4))) + value
    if isinstance(value, dict):
        body = b"".join(pack_message(key) + pack_message(item) for key, item in value.items())
        return bytes([0x80 + len(value)]) + body
    body = b"".join(pack_message(item) for item in value)
    if len(value) < 16:
        return bytes([0x90 + len(value)]) + body
    return _head(len(value), ((0xDC, 2), (0xDD, 4))) + body


def _head(length: int, forms: tuple[tuple[int, int], ...]) -> bytes:
    for tag, size in forms:
        if length < 256**size:
            return bytes([tag]) + length.to_bytes(size, "big")
    raise ValueError(length)


def unpack_message(data: bytes) -> Message:
    """The map that ``data`` is in canonical form; `check_shape` looks at its fields."""
    try:
        value, end = _read(data, 0)
    except (IndexError, ValueError, KeyError, TypeError, RecursionError):
        raise Refused("decode") from None
    require(end == len(data) and isinstance(value, dict) and pack_message(value) == data, "decode")
    return value


def _read(data: bytes, at: int) -> tuple[Any, int]:
    tag = data[at]
    if tag < 0x80:
        return tag, at + 1
    if tag < 0x90:
        result = {}
        at += 1
        for _ in range(tag - 0x80):
            key, at = _read(data, at)
            result[key], at = _read(data, at)
        return result, at
    if tag < 0xC0:
        size, at = tag - (0x90 if tag < 0xA0 else 0xA0), at + 1
        return _read_array(data, at, size) if tag < 0xA0 else (_slice(data, at, size).decode(), at + size)
    width = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xCC: 1, 0xCD: 2, 0xD9: 1, 0xDC: 2, 0xDD: 4}[tag]
    number, at = int.from_bytes(_slice(data, at + 1, width), "big"), at + 1 + width
    if tag in (0xCC, 0xCD):
        return number, at
    if tag in (0xDC, 0xDD):
        return _read_array(data, at, number)
    body = _slice(data, at, number)
    return (body.decode() if tag == 0xD9 else body), at + number


def _read_array(data: bytes, at: int, size: int) -> tuple[list[Any], int]:
    items = []
    for _ in range(size):
        item, at = _read(data, at)
        items.append(item)
    return items, at


def _slice(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise ValueError("truncated")
    return data[at : at + size]


ID, BIN, KIND, BUNDLE = "id", "bin", "kind", "bundle"
# messages.md: the fields of each type, a list as [its parts], a byte string as its length (None: any).
SHAPES: dict[str, dict[str, Any]] = {
    "advertise-request": {},
    "share-request": {"bundles": [BUNDLE]},
    "upload-request": {"shares": [ID, 94]},
    "consistency-request": {"survivors": [ID]},
    "unmask-request": {"survivors": [ID], "dropped": [ID], "signatures": [ID, 64]},
    "advertise-reply": {"sender": ID, "bundle": BUNDLE},
    "share-reply": {"sender": ID, "shares": [ID, 94]},
    "upload-reply": {"sender": ID, "vector": None},
    "consistency-reply": {"sender": ID, "signature": 64},
    "unmask-reply": {"sender": ID, "shares": [ID, KIND, 33]},
}
BUNDLE_SHAPE = {"client": ID, "cipher_key": 32, "mask_key": 32, "seed_commitment": 32, "signature": 64}


def check_shape(message: Message) -> None:
    fields = SHAPES.get(message.get("type", ""))
    require(fields is not None, "decode")
    assert fields is not None
    require(list(message) == ["type", "session", "version", *fields], "decode")
    require(_fits(message["session"], 32) and message["version"] == 1, "decode")
    require(all(_fits(message[name], shape) for name, shape in fields.items()), "decode")


def _fits(value: Any, shape: Any) -> bool:
    if shape == ID:
        return isinstance(value, int) and 1 <= value <= 1000
    if shape == KIND:
        return value in ("seed", "key")
    if shape == BUNDLE:
        if not isinstance(value, dict) or list(value) != list(BUNDLE_SHAPE):
            return False
        return all(_fits(value[name], part) for name, part in BUNDLE_SHAPE.items())
    if isinstance(shape, list):
        if not isinstance(value, list) or len(value) > 1000:
            return False
        rows = value if len(shape) > 1 else [[item] for item in value]
        if not all(isinstance(row, list) and len(row) == len(shape) for row in rows):
            return False
        if not all(_fits(part, kind) for row in rows for part, kind in zip(row, shape, strict=True)):
            return False
        firsts = [row[0]["client"] if isinstance(row[0], dict) else row[0] for row in rows]
        return firsts == sorted(set(firsts))
    return isinstance(value, bytes) and (shape is None or len(value) == shape)
