"""One interface for every way of summing, and the ways behind it."""

from fedpriv.aggregation.ckks import Ckks
from fedpriv.aggregation.interface import AggregationClient, AggregationServer, Aggregator, KeyHolder
from fedpriv.aggregation.masked import Masked
from fedpriv.aggregation.plain import Plain

__all__ = [
    "AggregationClient",
    "AggregationServer",
    "Aggregator",
    "Ckks",
    "KeyHolder",
    "Masked",
    "Plain",
]
