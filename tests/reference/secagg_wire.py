"""The encoding of the secure summation protocol (section 7 of its spec, messages.md): MessagePack by hand."""

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
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        if value < 128:
            return bytes([value])
        for tag, size in ((0xCC, 1), (0xCD, 2), (0xCE, 4)):
            if value < 256**size:
                return bytes([tag]) + value.to_bytes(size, "big")
        raise ValueError(value)
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
    value: Message
    try:
        value, end = _read(data, 0)
        require(end == len(data) and isinstance(value, dict) and pack_message(value) == data, "decode")
    except (IndexError, ValueError, KeyError, TypeError, RecursionError):
        raise Refused("decode") from None
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
    if tag in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[tag], at + 1
    width = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xD9: 1, 0xDC: 2, 0xDD: 4}[tag]
    number, at = int.from_bytes(_slice(data, at + 1, width), "big"), at + 1 + width
    if tag in (0xCC, 0xCD, 0xCE):
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


ID, BIN, COUNT, KIND, FLAG, SET = "id", "bin", "integer", "kind", "bool", "set"
# messages.md: the fields of each type in order.  A list of rows is [its parts], a map is its fields, a byte
# string its length.
BUNDLE: Message = {
    "client": ID,
    "cipher_key": 32,
    "mask_key": 32,
    "seed_commitment": 32,
    "previous": 32,
    "signature": 64,
}


class OrNil:
    def __init__(self, shape: Any) -> None:
        self.shape = shape


def shapes(levels: int) -> dict[str, Message]:
    """The messages of a session with so many levels."""
    bundle = {**BUNDLE, **({"level_commitment": 32} if levels else {})}
    view: Message = {"members": SET, "bundles": [bundle], "paths": [BIN]}
    sealed = [ID, 94 + 33 * levels]
    return {
        "advertise-request": {},
        "share-request": {"view": view},
        "upload-request": {
            "view": OrNil(view),
            "sharers": SET,
            "shares": sealed,
            "early": sealed,
            "prepare": FLAG,
        },
        "consistency-request": {"survivors": SET, "uploads": [ID, 64]},
        "unmask-request": {"survivors": SET, "dropped": SET, "signatures": [ID, 64]},
        "advertise-reply": {"sender": ID, "bundle": bundle},
        "share-reply": {"sender": ID, "shares": sealed},
        "upload-header": {"sender": ID, "bundle": OrNil(bundle), "shares": sealed, "signature": OrNil(64)},
        "upload-part": {"sender": ID, "part": COUNT, "data": BIN},
        "consistency-reply": {"sender": ID, "signature": 64},
        "unmask-reply": {"sender": ID, "shares": [ID, KIND, BIN if levels else 33]},
    }


REQUESTS = [kind for kind in shapes(0) if kind.endswith("request")]


def check_shape(message: Message, n: int, levels: int) -> None:
    """Refuse what is no message of messages.md among n clients, in a session with so many levels."""
    kind = message.get("type")
    require(isinstance(kind, str) and kind in shapes(levels), "decode")
    fields = shapes(levels)[str(kind)]
    require(list(message) == ["type", "session", "version", *fields], "decode")
    require(_fits(message["session"], 32, n), "decode")
    require(message["version"] == 1 and not isinstance(message["version"], bool), "decode")
    require(all(_fits(message[name], shape, n) for name, shape in fields.items()), "decode")
    if kind == "unmask-reply" and levels:
        sizes = {"seed": (33, 66), "key": (33,)}
        require(all(len(share) in sizes[which] for _, which, share in message["shares"]), "decode")


def _fits(value: Any, shape: Any, n: int) -> bool:
    if isinstance(shape, OrNil):
        return value is None or _fits(value, shape.shape, n)
    if shape == FLAG:
        return isinstance(value, bool)
    if shape in (ID, COUNT):
        least, most = (1, 10**6) if shape == ID else (0, 2**32 - 1)
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    if shape == KIND:
        return value in ("seed", "key")
    if isinstance(shape, dict):
        if not isinstance(value, dict) or list(value) != list(shape):
            return False
        return all(_fits(value[name], part, n) for name, part in shape.items())
    if isinstance(shape, list):
        return isinstance(value, list) and _list_fits(value, shape, n)
    if not isinstance(value, bytes):
        return False
    if shape == SET:
        return len(value) == (n + 7) // 8 and int.from_bytes(value, "little") < 2**n
    return bool(shape == BIN or len(value) == shape)


def _list_fits(value: list[Any], shape: list[Any], n: int) -> bool:
    rows = value if len(shape) > 1 else [[item] for item in value]
    if not all(isinstance(row, list) and len(row) == len(shape) for row in rows):
        return False
    if not all(_fits(part, kind, n) for row in rows for part, kind in zip(row, shape, strict=True)):
        return False
    if shape == [BIN]:
        return True
    firsts = [row[0]["client"] if isinstance(row[0], dict) else row[0] for row in rows]
    return firsts == sorted(set(firsts))
