"""A text is known again in whatever form a file came to hold it, and no two texts are taken for one."""

from __future__ import annotations

import unicodedata

import pytest

from fedpriv.data import canonical_text

TEXT = "Crème brûlée, très fine: \U0001f36e 10 € a plate"


@pytest.mark.parametrize(
    "form",
    [
        TEXT,
        unicodedata.normalize("NFD", TEXT),
        f"  {TEXT}\n",
        TEXT.replace(" ", "\t"),
        TEXT.replace(" ", "\r\n  "),
        TEXT.replace(" ", "\u00a0"),
        TEXT.replace(" ", "\u2003\u3000"),
    ],
)
def test_unicode_forms_and_white_space_make_no_other_text(form: str) -> None:
    assert canonical_text(form) == canonical_text(TEXT)


def test_letters_cases_and_the_place_of_a_blank_do() -> None:
    forms = ["ab c", "a bc", "abc", "Abc", "abc.", "a\u0301bc", "abc\u200b"]
    assert len({canonical_text(form) for form in forms}) == len(forms)


def test_half_a_surrogate_has_a_form_too() -> None:
    assert canonical_text("a\ud800") != canonical_text("a\udbff")
