"""The form of a record's text in which it is known again (protocols/ledger/spec.md, 11.1)."""

from __future__ import annotations

import unicodedata

__all__ = ["canonical_text"]


def canonical_text(text: str) -> bytes:
    """A text in Unicode's form NFC, every run of white space as one blank and none at the ends, in UTF-8.

    Composed or decomposed accents, line ends and indentation make no other text; a letter more does.

    >>> canonical_text(" Cafe\\u0301\\r\\n au  lait ") == canonical_text("Caf\\u00e9 au\\u00a0lait")
    True
    """
    return " ".join(unicodedata.normalize("NFC", text).split()).encode("utf-8", "surrogatepass")
