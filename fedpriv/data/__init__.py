"""Records with a text and a label: loaded, held out, divided among clients, and named by a fingerprint."""

from fedpriv.data.fingerprint import fingerprint
from fedpriv.data.partition import by_column, by_group, client_names, dirichlet, iid, partition
from fedpriv.data.split import align_test, split_test
from fedpriv.data.table import LeftOut, Table, load

__all__ = [
    "LeftOut",
    "Table",
    "align_test",
    "by_column",
    "by_group",
    "client_names",
    "dirichlet",
    "fingerprint",
    "iid",
    "load",
    "partition",
    "split_test",
]
