"""DSSE envelopes, held against a reader that shares nothing with the package."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import report_bundle as reference

from fedpriv.crypto import SigningKey, verify
from fedpriv.crypto.dsse import decode, pre_authentication_encoding, sign
from fedpriv.errors import DecodeError

KEY = SigningKey.from_seed(bytes(range(32)))
ENVELOPE = sign(KEY, "text/plain", b"hello \xff")


def test_the_example_of_the_specification() -> None:
    """protocol.md's own; Ed25519 itself is held against RFC 8032 in test_signing."""
    kind, body = "http://example.com/HelloWorld", b"hello world"
    signed = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pre_authentication_encoding(kind, body) == reference.pae(kind, body) == signed


def test_the_reference_knows_the_signatures_of_rfc_8032() -> None:
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    signature = bytes.fromhex(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b"
    )
    assert reference.signed(public, b"", signature)
    assert not reference.signed(public, b"x", signature)


@given(st.text(max_size=20), st.binary(max_size=40))
def test_what_is_signed_tells_type_and_body_apart(kind: str, body: bytes) -> None:
    signed = pre_authentication_encoding(kind, body)
    assert signed == reference.pae(kind, body)
    assert signed != pre_authentication_encoding(kind + " ", body)
    assert signed[0] != 0  # what fedpriv.crypto.signing signs begins with the zero of a length


def test_the_reference_takes_the_signature() -> None:
    signed = reference.pae("text/plain", b"hello \xff")
    assert reference.signed(KEY.public, signed, ENVELOPE.signatures[0].value)


def test_a_signature_is_of_its_key_type_and_body_only() -> None:
    assert ENVELOPE.signed_by(KEY.public)
    assert not ENVELOPE.signed_by(SigningKey.from_seed(bytes(32)).public)
    assert not ENVELOPE.signed_by(b"")
    for other in (("text/html", b"hello \xff"), ("text/plain", b"hello")):
        forged = type(ENVELOPE)(*other, ENVELOPE.signatures)
        assert not forged.signed_by(KEY.public)


def test_a_signature_for_a_domain_is_none_for_an_envelope() -> None:
    """The ledger signs its rows with the same key."""
    signed = pre_authentication_encoding(ENVELOPE.payload_type, ENVELOPE.payload)
    for domain in ("", "DSSEv1", "fedpriv/ledger/signature/v1"):
        forged = type(ENVELOPE)(
            ENVELOPE.payload_type,
            ENVELOPE.payload,
            (type(ENVELOPE.signatures[0])("", KEY.sign(domain, signed)),),
        )
        assert not forged.signed_by(KEY.public)
        assert not verify(KEY.public, domain, signed, ENVELOPE.signatures[0].value)


def test_a_second_signature_takes_nothing_from_the_first() -> None:
    value = json.loads(ENVELOPE.encode())
    value["signatures"].insert(0, {"sig": "AAAA"})
    both = decode(json.dumps(value).encode())
    assert both.signed_by(KEY.public)
    assert both.signatures[0].keyid == ""


def test_both_alphabets_of_base64_are_read() -> None:
    """protocol.md, "Standard or URL-safe"."""
    value = json.loads(ENVELOPE.encode())
    for encoding in (base64.b64encode, base64.urlsafe_b64encode):
        value["payload"] = encoding(b"\xfb\xff\xfe").decode()
        assert decode(json.dumps(value).encode()).payload == b"\xfb\xff\xfe"


@pytest.mark.parametrize(
    "change",
    [
        {"payload": "aGVsbG8"},  # no padding
        {"payload": "aGVsbG9="},  # bits left over
        {"payload": "aGVs bG8="},
        {"payload": "aGVsbG8=\n"},
        {"payload": "ä"},
        {"payload": 1},
        {"payloadType": None},
        {"signatures": []},
        {"signatures": {}},
        {"signatures": [{"sig": "AAAA"}] * 17},
        {"signatures": [{"keyid": "a"}]},
        {"signatures": [{"sig": "AAAA", "keyid": 1}]},
        {"signatures": [{"sig": "AAAA", "cert": "x"}]},
        {"signatures": ["AAAA"]},
        {"more": 1},
    ],
)
def test_another_form_is_refused(change: dict[str, object]) -> None:
    value = {**json.loads(ENVELOPE.encode()), **change}
    with pytest.raises(DecodeError):
        decode(json.dumps(value).encode())


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b'{"payload": "", "payload": "", "payloadType": "", "signatures": [{"sig": ""}]}',
        b'{"payload": "", "payloadType": "\\ud800", "signatures": [{"sig": ""}]}',
        b'{"payload": "", "payloadType": NaN, "signatures": [{"sig": ""}]}',
        b"[1e999]",
        b"[" + b"9" * 5_000 + b"]",
    ],
)
def test_hostile_json_is_refused(text: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(text)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_envelope_or_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(data)


@given(st.integers(0, 10**9), st.integers(0, 255))
def test_one_changed_byte_is_refused_or_not_signed(position: int, byte: int) -> None:
    data = bytearray(ENVELOPE.encode())
    data[position % len(data)] = byte
    try:
        envelope = decode(bytes(data))
    except DecodeError:
        return
    same = (envelope.payload_type, envelope.payload) == (ENVELOPE.payload_type, ENVELOPE.payload)
    assert same or not envelope.signed_by(KEY.public)
