"""Records with a text and a label: loaded, held out, divided among clients, in a canonical form."""

from fedpriv.data.canonical import canonical_text
from fedpriv.data.partition import by_column, by_group, client_names, dirichlet, iid, partition
from fedpriv.data.split import align_test, split_test
from fedpriv.data.table import LeftOut, Table, load

__all__ = [
    "LeftOut",
    "Table",
    "align_test",
    "by_column",
    "by_group",
    "canonical_text",
    "client_names",
    "dirichlet",
    "iid",
    "load",
    "partition",
    "split_test",
]
