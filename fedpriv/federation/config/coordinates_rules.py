"""What the keys about a round's coordinates get wrong together: method, compression, noise over rounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpriv.errors import ConfigError
from fedpriv.peft import METHODS

if TYPE_CHECKING:
    from fedpriv.federation.config.rules import Work
    from fedpriv.federation.config.tables import Compression, Peft, Privacy, Server, Training

__all__ = ["check_coordinates", "check_server", "check_slopes", "why_not_rotated"]


def check_coordinates(peft: Peft, privacy: Privacy, compression: Compression | None, work: Work) -> None:
    """Refuse a draw of coordinates that the method or the noise does not bear."""
    method = METHODS[peft.method]
    if compression is not None:
        given = (compression.share is not None) + (compression.bytes is not None)
        if given == 2 or not (given or compression.rotate):
            raise ConfigError(
                "`compression` needs either `share` or `bytes`, or `rotate = true`, and has "
                + ("both of the first" if given else "none of them"),
                key="compression",
                hint="`share` says how many coordinates travel, `bytes` lets the plan choose",
            )
        if compression.share is not None and not method.drawable:
            raise ConfigError(
                f"`compression.share` is set, and the coordinates of {peft.method} change their meaning "
                "after each step: those that travelled would be mixed with those that did not",
                key="compression.share",
                hint="leave it out and choose a smaller `peft.rank`, or use ffa-lora",
            )
        reason = why_not_rotated(peft, work)
        if compression.rotate and reason is not None:
            raise ConfigError(
                f"`compression.rotate` is set, and {reason}", key="compression.rotate", hint="leave it out"
            )
    if privacy.bands is None:
        return
    if compression is not None or not method.steady:
        what = "compression" if compression is not None else f"the method {peft.method}"
        raise ConfigError(
            f"`privacy.mechanism` is 'banded-matrix', and under {what} a coordinate does not stand for the "
            "same in every round: noise that later rounds take back would not be taken back",
            key="privacy.mechanism",
            hint='use `mechanism = "skellam"`, or ffa-lora without compression',
        )


def why_not_rotated(peft: Peft, work: Work) -> str | None:
    """Say why sums of this kind are not rotated (protocols/dp/spec.md, 9.8); None where they may be."""
    if METHODS[peft.method].projected:
        return f"the slopes of {peft.method} are too few to spread anything over"
    if work == "steps":
        return (
            "the noisy steps of a client follow from one another: a later one would depend on the rotation, "
            "and the bound on its coordinates would not hold"
        )
    return None


def check_slopes(peft: Peft, work: Work, training: Training) -> None:
    """Refuse what does not go with slopes along directions, which are of one step and from forward passes."""
    if not METHODS[peft.method].projected:
        return
    if work != "gradients":
        raise ConfigError(
            f"`peft.method` is {peft.method!r}, whose slopes are of one step of a round on records",
            key="peft.method",
            hint='leave out `local.steps` and use `unit = "record"`, or choose another method',
        )
    if training.engine != type(training).model_fields["engine"].default:
        raise ConfigError(
            f"`training.engine` is set, and {peft.method} computes no gradient of a record",
            key="training.engine",
            hint="leave it out",
        )


def check_server(server: Server) -> None:
    """Refuse an option that the server's optimiser does not have."""
    if server.epsilon is not None and server.optimizer == "sgd":
        raise ConfigError(
            "`server.epsilon` is set, and sgd has none",
            key="server.epsilon",
            hint="leave it out, or use adam or yogi",
        )
