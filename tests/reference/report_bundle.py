"""The bundle's reader once more, slow and obvious, from protocols/report/spec.md, section 7, and RFC 8032.

Covers the envelope, its Ed25519 signature (on the curve itself, no library), the statement and its subjects
against the ledger's FINISH row.  What the other sections check is not done again here.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
FILES = [
    ["config.toml", "run.json", "plan.json", "ledger.json"],
    ["rounds.jsonl", "result.json", "checkpoints.jsonl", "audit.json", "report.json"],
]
OVER = "the listing of names and SHA-256 of the subjects adapter/*: protocols/peft/artifact.md, section 4"

Point = tuple[int, int]


class Refused(Exception):  # noqa: N818 - it is what happens to the bundle
    """Not a bundle at all."""


def add(one: Point, other: Point) -> Point:
    """Addition on -x² + y² = 1 + d x² y² (RFC 8032, 5.1.4, in affine coordinates)."""
    (a, b), (c, d) = one, other
    product = D * a * b * c * d % P
    x = (a * d + b * c) * pow(1 + product, -1, P) % P
    y = (b * d + a * c) * pow(1 - product, -1, P) % P
    return x, y


def times(scalar: int, point: Point) -> Point:
    total: Point = (0, 1)
    for bit in bin(scalar)[2:]:
        total = add(total, total)
        if bit == "1":
            total = add(total, point)
    return total


def point(data: bytes) -> Point | None:
    """The point that 32 bytes are (RFC 8032, 5.1.3)."""
    number = int.from_bytes(data, "little")
    odd, y = number >> 255, number & (2**255 - 1)
    if len(data) != 32 or y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x * x % P != square or (x == 0 and odd):
        return None
    return (P - x if x % 2 != odd else x), y


BASE = point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def signed(public: bytes, message: bytes, signature: bytes) -> bool:
    """RFC 8032, 5.1.7, without the cofactor."""
    key, nonce = point(public), point(signature[:32])
    scalar = int.from_bytes(signature[32:], "little")
    if key is None or nonce is None or len(signature) != 64 or scalar >= ORDER:
        return False
    digest = hashlib.sha512(signature[:32] + public + message).digest()
    challenge = int.from_bytes(digest, "little") % ORDER
    assert BASE is not None
    return times(scalar, BASE) == add(nonce, times(challenge, key))


def pae(kind: str, body: bytes) -> bytes:
    """Clause 7.2."""
    name = kind.encode()
    return b"DSSEv1 %d %s %d %s" % (len(name), name, len(body), body)


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise Refused("a key twice")
    return dict(pairs)


def parsed(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=once)
    except ValueError as error:
        raise Refused(str(error)) from None


def unbase64(text: str) -> bytes:
    plain = text.replace("-", "+").replace("_", "/")
    try:
        value = base64.b64decode(plain, validate=True)
    except ValueError:
        raise Refused("base64") from None
    if base64.b64encode(value).decode() != plain:
        raise Refused("base64")
    return value


def listing(subjects: list[dict[str, Any]]) -> str:
    """The digest of protocols/peft/artifact.md, section 4, out of the subjects of the files."""
    data = b"fedpriv/peft/artifact/1\0"
    for subject in subjects:
        path = subject["name"].removeprefix("adapter/").encode()
        data += len(path).to_bytes(8, "little") + path + bytes.fromhex(subject["digest"]["sha256"])
    return hashlib.sha256(data).hexdigest()


def statement_of(payload: bytes) -> dict[str, Any]:
    """Clause 7.3, or Refused."""
    value = parsed(payload.decode())
    names = [subject["name"] for subject in value["subject"]]
    good = (
        value.keys() == {"_type", "subject", "predicateType", "predicate"}
        and value["_type"] == "https://in-toto.io/Statement/v1"
        and value["predicateType"] == "https://fedpriv.example/privacy-evidence/v1"
        and value["predicate"].keys() == {"files"}
        and 2 <= len(names) <= 65
        and names == ["adapter", *sorted(set(names[1:]))]
        and all(subject.keys() == {"name", "digest"} for subject in value["subject"][1:])
        and all(name.startswith("adapter/") for name in names[1:])
        and not any({"", ".", ".."} & set(name.split("/")) for name in names)
        and value["subject"][0]["annotations"] == {"over": OVER}
        and value["subject"][0]["digest"] == {"sha256": listing(value["subject"][1:])}
    )
    files = value["predicate"]["files"]
    if not good or set(FILES[0]) - files.keys() or files.keys() - {*FILES[0], *FILES[1]}:
        raise Refused("statement")
    return value  # type: ignore[no-any-return]


def verify(bundle: str, *, signer: str | None, head: str | None) -> list[str]:
    """The places that do not hold; `Refused` where it is no bundle."""
    envelope = parsed(bundle)
    if envelope.keys() != {"payload", "payloadType", "signatures"}:
        raise Refused("envelope")
    if envelope["payloadType"] != "application/vnd.in-toto+json":
        raise Refused("payloadType")
    payload = unbase64(envelope["payload"])
    message = pae(envelope["payloadType"], payload)
    signatures = [unbase64(one["sig"]) for one in envelope["signatures"]]

    def holds(key: str) -> bool:
        return any(signed(bytes.fromhex(key), message, signature) for signature in signatures)

    if signer is not None and not holds(signer):
        return ["bundle: signature"]
    value = statement_of(payload)
    files = {name: parsed(text) for name, text in value["predicate"]["files"].items() if name[-5:] == ".json"}
    if not holds(files["run.json"]["server_key"]):
        return ["bundle: signature"]
    rows = files["ledger.json"]["rows"]
    run = files["run.json"]["run_id"]
    finish = [row["body"]["details"] for row in rows if row["kind"] == "FINISH" and row["body"]["run"] == run]
    found = []
    if head is not None and head not in [row["hash"] for row in rows]:
        found.append("head")
    if not finish or finish[-1]["adapter"] != value["subject"][0]["digest"]["sha256"]:
        found.append("adapter")
    return found
