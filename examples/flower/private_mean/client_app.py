"""A node: it reads its values from its own disk, and lends them to a sum that hides them."""

import numpy as np
from flwr.app import Context, RecordDict
from flwr.clientapp import ClientApp

from fedpriv.flower import privately
from private_mean.plan import PLAN

app = ClientApp()


@app.train("private_sum")
@privately(PLAN)
def train(content: RecordDict, context: Context) -> dict[str, np.ndarray]:
    """Stands for training: ``content`` has what the server sent, in a real app the model."""
    centre = content["model"]["centre"].numpy()
    values = np.loadtxt(context.node_config["values"]) - centre
    return {"values": values, "squares": values**2}
