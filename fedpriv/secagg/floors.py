"""What a client insists on, whoever plans the run."""

from __future__ import annotations

from dataclasses import dataclass

from fedpriv.errors import UnsafeParameters
from fedpriv.secagg.params import SecAggParams

__all__ = ["NO_FLOORS", "Floors"]


@dataclass(frozen=True, slots=True)
class Floors:
    """What a client insists on, whoever plans the run: parameters below it are refused (SA-9).

    Attributes:
        survivors: the fewest clients whose sum may be released.
        threshold: the fewest shares that may open a secret.
        colluders: how many clients in league with the server the run must withstand.
    """

    survivors: int = 2
    threshold: int = 2
    colluders: int = 0

    def check(self, params: SecAggParams) -> None:
        """Refuse parameters that promise less.

        Raises:
            UnsafeParameters: they do.
        """
        for what, planned, least in (
            ("fewest survivors", params.min_survivors, self.survivors),
            ("threshold", params.threshold, self.threshold),
            ("number of colluders to withstand", params.max_colluders, self.colluders),
        ):
            if planned < least:
                raise UnsafeParameters(
                    f"The planned {what} is {planned}; this client takes part from {least} upwards.",
                    hint="Plan the run with more, or let the client's owner lower its floor. [SA-9]",
                )


NO_FLOORS = Floors()
