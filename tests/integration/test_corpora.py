"""The texts of the examples are as many as their loaders say, and none stands there twice."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from fedpriv.data import load

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def corpora() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        yield importlib.import_module("corpora")


def test_the_bbc_s_articles_have_five_sections(corpora: ModuleType) -> None:
    texts, labels = corpora.bbc()
    assert len(texts) == len(set(texts)) == len(labels) == 2127
    assert set(labels) == {"business", "entertainment", "politics", "sports", "tech"}


def test_reviews_come_with_their_films(corpora: ModuleType) -> None:
    texts, labels, films = corpora.reviews()
    assert len(texts) == len(set(texts)) == len(labels) == len(films) == 12752
    assert set(labels) == {"fresh", "rotten"}
    assert len(set(films)) == 507


def test_the_larger_roles_of_hamlet_come_in_pieces_of_their_own_lines_alone(
    corpora: ModuleType, tmp_path: Path
) -> None:
    texts, roles = corpora.roles()
    assert len(texts) == len(set(texts)) == len(roles) == 446
    counted = Counter(roles)
    assert len(counted) == 17
    assert counted.most_common(3) == [("Hamlet", 181), ("King Claudius", 64), ("Lord Polonius", 42)]
    assert not [text for text in texts if "Exeunt" in text or "Enter " in text or "SCENE" in text]
    assert 55 < sum(len(text.split()) for text in texts) / len(texts) < 70
    for line in texts[roles.index("Ghost")].splitlines():
        assert line in corpora.hamlet()

    command = [sys.executable, str(EXAMPLES / "corpora.py"), "roles", str(tmp_path / "roles.jsonl")]
    subprocess.run(command, check=True)
    table = load(str(tmp_path / "roles.jsonl"), label=None, extra=["role"])
    assert (list(table.texts), table.column("role")) == (texts, roles)


def test_thirteen_roles_of_hamlet_speak_a_thousand_characters(corpora: ModuleType) -> None:
    spoken: Counter[str] = Counter()
    speaker = ""
    for line in corpora.hamlet().splitlines():
        if line.isupper():
            speaker = line
        else:
            spoken[speaker] += len(line)
    roles = [name for name, length in spoken.most_common() if length >= 1000 and not name.startswith("ACT ")]
    assert roles[:3] == ["HAMLET", "KING CLAUDIUS", "LORD POLONIUS"]
    assert len(roles) == 13
