"""A node that trains and sends what it has trained, to Flower's strategy and to our transport alike."""

from __future__ import annotations

from plain_rounds.times import keep

keep("plain_rounds")

import logging  # noqa: E402 - a process's time begins before what it imports
from pathlib import Path  # noqa: E402

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402

from fedpriv.deployment.transport import Parts  # noqa: E402
from fedpriv.flower.transport import parts_of, reply  # noqa: E402

app = ClientApp()
_log = logging.getLogger("plain_rounds")


@app.train()
def strategy(message: Message, context: Context) -> Message:
    """Answer Flower's own strategy."""
    _asked(context)
    from plain_rounds.training import trained

    folder = _folder(context)
    given = message.content["arrays"]["parameters"].numpy()
    round_ = int(message.content["config"]["server-round"])
    parameters, records = trained(given, folder / "records.jsonl", round_, int(folder.name))
    content = {
        "arrays": ArrayRecord({"parameters": Array(parameters)}),
        "metrics": MetricRecord({"num-examples": records}),
    }
    _log.info("answered")
    return Message(RecordDict(content), reply_to=message)


@app.train("fedpriv")
def exchange(message: Message, context: Context) -> Message:
    """Answer an exchange of `FlowerTransport`."""
    _asked(context)
    import numpy as np

    from plain_rounds.training import trained

    folder, asked = _folder(context), parts_of(message)
    given, round_ = np.frombuffer(asked.blobs[0], "<f4"), int(asked.values["round"])
    parameters, records = trained(given, folder / "records.jsonl", round_, int(folder.name))
    answer = Parts({"records": records}, (parameters.astype("<f4").tobytes(),))
    _log.info("answered")
    return reply(answer, message)


def _asked(context: Context) -> None:
    _log.info("node %d is asked", context.node_id)


def _folder(context: Context) -> Path:
    """The node's own."""
    return Path(context.node_config["fedpriv-policy"]).parent
