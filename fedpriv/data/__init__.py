"""Records, texts or images: loaded, held out, divided among clients, in a canonical form."""

from fedpriv.data.canonical import Content, Image, canonical, canonical_image, canonical_text
from fedpriv.data.partition import (
    SHARDS_PER_CLIENT,
    by_column,
    by_group,
    by_shards,
    client_names,
    dirichlet,
    iid,
    partition,
    quantity,
)
from fedpriv.data.split import align_test, split_test
from fedpriv.data.table import LeftOut, Table, load
from fedpriv.data.written import suffix_of, written

__all__ = [
    "SHARDS_PER_CLIENT",
    "Content",
    "Image",
    "LeftOut",
    "Table",
    "align_test",
    "by_column",
    "by_group",
    "by_shards",
    "canonical",
    "canonical_image",
    "canonical_text",
    "client_names",
    "dirichlet",
    "iid",
    "load",
    "partition",
    "quantity",
    "split_test",
    "suffix_of",
    "written",
]
