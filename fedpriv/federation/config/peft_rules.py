"""What ``[peft]`` gets wrong: methods that cannot be had, and options that a method does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fedpriv.errors import ConfigError, UsageError
from fedpriv.peft import METHODS, NEVER_EXACT, method_called

if TYPE_CHECKING:
    from fedpriv.federation.config.tables import Peft

__all__ = ["check_peft", "with_own_defaults"]


def with_own_defaults(values: Any, method: str) -> Any:
    """The table as it was read, with the defaults of its method's options; ``method``: if it names none.

    Raises:
        ConfigError: the method is known, and cannot be had.
    """
    if not isinstance(values, dict):
        return values
    name = values.get("method", method)
    if not isinstance(name, str):
        return values
    if name in NEVER_EXACT:
        try:
            method_called(name)
        except UsageError as problem:
            raise ConfigError(f"`peft.method`: {problem}", key="peft.method", hint=problem.hint) from None
    if name not in METHODS:
        return values
    defaults = {key: value for key, value in METHODS[name].options.items() if value is not None}
    return {**defaults, **values}


def check_peft(peft: Peft) -> None:
    """Refuse an option that is set, other than to its default, and is not the method's."""
    own = METHODS[peft.method].options
    for key, field in type(peft).model_fields.items():
        if key != "method" and key not in own and getattr(peft, key) != field.default:
            raise ConfigError(
                f"`peft.{key}` is set, and the method {peft.method!r} does not have it",
                key=f"peft.{key}",
                hint=f"leave it out; {peft.method} takes {', '.join(own)}"
                if own
                else f"leave it out; {peft.method} has no options",
            )
    if peft.ranks is not None and max(peft.ranks) != peft.rank:
        raise ConfigError(
            f"`peft.ranks` goes up to {max(peft.ranks)}, and `peft.rank` is {peft.rank}",
            key="peft.ranks",
            hint="the largest of the clients' ranks is the model's: give both alike",
        )
    if peft.feedforward_modules is not None and peft.target_modules is None:
        raise ConfigError(
            "`peft.feedforward_modules` is set without `peft.target_modules`",
            key="peft.feedforward_modules",
            hint="give both, or neither",
        )
