"""What the keys of ``[ckks]`` get wrong together, and the committee that follows from them."""

from __future__ import annotations

from fedpriv.ckks.mode import default_holders, least_threshold
from fedpriv.errors import ConfigError
from fedpriv.federation.config.tables import Ckks, SecAgg

__all__ = ["check_ckks", "committee"]


def check_ckks(trust: str, aggregator: str, secagg: SecAgg, ckks: Ckks) -> None:
    """What ``[ckks]`` gets wrong together with the rest, whatever the number of clients."""
    given = [key for key in type(ckks).model_fields if key in ckks.model_fields_set]
    if aggregator != "ckks":
        if given:
            raise ConfigError(
                f"`ckks.{given[0]}` is set, and `aggregator` is {aggregator!r}",
                key=f"ckks.{given[0]}",
                hint='leave `[ckks]` out, or set `aggregator = "ckks"`',
            )
        return
    if ckks.mode != "threshold":
        for key in ("holders", "threshold", "statistical_bits"):
            if getattr(ckks, key) != type(ckks).model_fields[key].default:
                raise ConfigError(
                    f"`ckks.{key}` is set, and `ckks.mode` is {ckks.mode!r}: only a key that is shared out "
                    "has a committee",
                    key=f"ckks.{key}",
                    hint='leave it out, or set `ckks.mode = "threshold"`',
                )
    if ckks.mode == "shared-key" and trust == "central":
        raise ConfigError(
            "`ckks.mode` is 'shared-key' under trust = 'central': a client would see the sum before the "
            "server adds its noise",
            key="ckks.mode",
            hint='use `ckks.mode = "authority"` or `"threshold"`',
        )
    if secagg.graph == "sparse":
        raise ConfigError(
            "`secagg.graph` is 'sparse', and an encrypted sum has no masks that clients could share",
            key="secagg.graph",
            hint='leave it out, or set `aggregator = "masked"`',
        )


def committee(ckks: Ckks, secagg: SecAgg, clients: int) -> tuple[int, int]:
    """Holders and threshold of the key in mode ``threshold``, given or chosen, checked.

    The least threshold is that of CK-1 (protocols/ckks/spec.md).

    Raises:
        ConfigError: naming the key to change.
    """
    holders, colluders = ckks.holders or len(default_holders("threshold", clients)), secagg.max_colluders
    if holders > clients:
        raise ConfigError(
            f"`ckks.holders` is {holders}, more than the {clients} clients that could hold the key",
            key="ckks.holders",
            hint=f"allowed: 2 to {clients}",
        )
    safe = least_threshold(holders, colluders, malicious=ckks.server == "malicious")
    if safe > holders:
        raise ConfigError(
            f"`secagg.max_colluders` is {colluders}, too many for a key among {holders} holders: "
            "together they could open single updates",
            key="secagg.max_colluders",
            hint=f"allowed with so many holders: 0 to {max(0, holders - 2)}; or raise `ckks.holders`",
        )
    threshold = ckks.threshold or safe
    if not safe <= threshold <= holders:
        raise ConfigError(
            f"`ckks.threshold` is {threshold}; allowed: {safe} to {holders} with {holders} holders, "
            f"{colluders} colluding and a {ckks.server} server",
            key="ckks.threshold",
            hint="with fewer, more than one sum of a round could be opened; more than all can never answer",
        )
    return holders, threshold
