"""Writes protocols/vectors/v1/report_bundle*.json: a sound bundle, and the same with one thing wrong.

    python tests/vectors/report_vectors.py

A case is written once and for ever: a change of the format is a new version with its own vectors.  Each
holds ``bundle`` (the file's text), what the reader knows beforehand (``signer``, ``head``) and ``finds``: the
checks that must fail, in order, each once.  ``refused`` says that it is no bundle at all.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests"))

from sample_run import make_run, signer  # noqa: E402

from fedpriv.crypto import SigningKey, canonical_json, dsse  # noqa: E402
from fedpriv.report import bundle  # noqa: E402
from fedpriv.report.adapter_files import AdapterFiles  # noqa: E402

DIRECTORY = ROOT / "protocols" / "vectors" / "v1"
STRANGER = SigningKey.from_seed(bytes(range(1, 33)))
TYPE = "application/vnd.in-toto+json"

Case = dict[str, Any]
Statement = dict[str, Any]


def sound() -> str:
    """The bundle of a run of one round."""
    with tempfile.TemporaryDirectory() as folder:
        return bundle.write(make_run(Path(folder), rounds=1, shape=(3, 2, 0)), signer()).read_text()


def statement_of(text: str) -> Statement:
    value: Statement = json.loads(base64.b64decode(json.loads(text)["payload"]))
    return value


def sealed(payload: bytes, *, key: SigningKey | None = None) -> str:
    return dsse.sign(key or signer(), TYPE, payload).encode().decode()


def case(
    description: str, text: str, finds: list[str], *, refused: bool = False, head: str | None = None
) -> Case:
    return {
        "description": description,
        "bundle": text,
        "signer": signer().public.hex(),
        "head": head,
        "refused": refused,
        "finds": finds,
    }


def head_of(statement: Statement) -> str:
    head: str = json.loads(statement["predicate"]["files"]["ledger.json"])["head"]["hash"]
    return head


def cases() -> dict[str, Case]:
    """All of them, by the end of their file's name."""
    text = sound()
    head = head_of(statement_of(text))
    envelope = json.loads(text)

    def signed(edit: Callable[[Statement], None]) -> str:
        """The bundle after ``edit``, with a fresh signature of the right key."""
        statement = statement_of(text)
        edit(statement)
        return sealed(canonical_json(statement))

    def outer(**changes: Any) -> str:
        return json.dumps({**envelope, **changes})

    def extra_file(statement: Statement) -> None:
        statement["predicate"]["files"]["notes.txt"] = "read me"

    def escaping_path(statement: Statement) -> None:
        statement["subject"][1]["name"] = "adapter/../adapter_config.json"

    def other_adapter(statement: Statement) -> None:
        first, *files = statement["subject"]
        files[0]["digest"]["sha256"] = "00" * 32
        digests = {file["name"].removeprefix("adapter/"): file["digest"]["sha256"] for file in files}
        first["digest"]["sha256"] = AdapterFiles(digests).digest

    def broken_listing(statement: Statement) -> None:
        statement["subject"][0]["digest"]["sha256"] = "00" * 32

    payload = base64.b64decode(envelope["payload"])
    flipped = base64.b64encode(payload.replace(b"2026-03-01", b"2026-03-02", 1)).decode()
    twice = payload.replace(b'"predicate":', b'"predicate":{},"predicate":', 1)
    signature = "bundle: signature"
    return {
        "": case("a sound bundle, and the head that a reader knows", text, [], head=head),
        "_bad_payload": case("one digit of the payload is changed", outer(payload=flipped), [signature]),
        "_bad_payload_type": case(
            "the type of the payload is changed", outer(payloadType="text/plain"), [], refused=True
        ),
        "_bad_other_key": case("signed by a stranger", sealed(payload, key=STRANGER), [signature]),
        "_bad_base64": case(
            "the payload lacks its padding",
            outer(payload=envelope["payload"].rstrip("=")[:-1]),
            [],
            refused=True,
        ),
        "_bad_duplicate_key": case("a key stands twice in the statement", sealed(twice), [], refused=True),
        "_bad_extra_file": case("a file outside of the closed set", signed(extra_file), [], refused=True),
        "_bad_path": case("a subject that leads out of the folder", signed(escaping_path), [], refused=True),
        "_bad_listing": case(
            "the first subject does not follow from the others", signed(broken_listing), [], refused=True
        ),
        "_bad_adapter": case("the subjects are another adapter's", signed(other_adapter), ["adapter"]),
        "_bad_head": case("the reader knows a later head", text, ["head"], head="ab" * 32),
    }


def main() -> None:
    for name, value in cases().items():
        text = json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True)
        (DIRECTORY / f"report_bundle{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
