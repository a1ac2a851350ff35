"""The server: two rounds, each a noisy sum over the nodes that answered; it sees no node's values."""

from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, RecordDict
from flwr.serverapp import Grid, ServerApp

from fedpriv.flower import PrivateSum
from fedpriv.keystore import load_roster
from private_mean.plan import PLAN

DELTA = 1e-5

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Find the mean in the first round, and what is left of it in the second."""
    config = context.run_config
    private_sum = PrivateSum(
        PLAN,
        load_roster(str(config["roster"])),
        grid,
        timeout=float(config["timeout"]),
        training_timeout=float(config["timeout"]),
    )
    centre = np.zeros(PLAN.vectors["values"])
    for round_ in range(1, PLAN.rounds + 1):
        content = RecordDict({"model": ArrayRecord({"centre": Array(centre)})})
        total = private_sum.run(round_, content)
        centre += total.vectors["values"] / len(total.survivors)
        print(
            f"round {round_}: {len(total.survivors)} of {PLAN.clients} nodes in the sum, "
            f"epsilon {PLAN.epsilon(DELTA, round_):.2f} at delta {DELTA:g} so far"
        )
        if config["output"]:
            file = Path(str(config["output"])) / f"round-{round_}.npz"
            np.savez(file, integers=total.integers, survivors=total.survivors, centre=centre)
