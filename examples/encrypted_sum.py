"""An encrypted sum that four of five clients open together, in a pipeline of one's own.

Bytes go in and out of the parties, so any transport can stand where ``run_in_process`` does.  Client 2
vanishes before it helps to open the sum.
"""

import os

import numpy as np

from fedpriv import ckks
from fedpriv.crypto import SigningKey
from fedpriv.secagg import run_in_process

CLIENTS = range(1, 6)
PARAMS = ckks.CkksParams.for_sum(mode="threshold", clients=5, dimension=100_000, bound=2**19, min_survivors=4)
RUN_ID = os.urandom(16)


def main() -> None:
    # In a federation each has its own identity, and the public halves come from elsewhere than the server.
    identities = {client: SigningKey.from_seed(os.urandom(32)) for client in CLIENTS}
    roster = {client: identity.public for client, identity in identities.items()}
    vectors = {client: np.random.default_rng(client).integers(-(2**19), 2**19, 100_000) for client in CLIENTS}

    server = ckks.Server(PARAMS, RUN_ID, roster)
    with ckks.EncryptionWorkers(PARAMS.layout, processes=2) as workers:
        clients = {
            client: ckks.Client(
                PARAMS, RUN_ID, client, identities[client], roster, os.urandom, workers=workers
            )
            for client in CLIENTS
        }
        server.open_round(1, context=bytes(32))
        for client, party in clients.items():
            party.open_round(1, context=bytes(32))
            party.set_vectors(vectors[client])
        total = run_in_process(server, clients, lambda stage, client: (stage, client) != ("open", 2))

    exact = np.array_equal(total.values, sum(vectors.values()))
    print(f"{len(total.survivors)} clients in the sum, opened by {total.answered['open']}, exact: {exact}")
    print(
        f"each sent {PARAMS.upload_bytes / 1e3:.0f} kB, {PARAMS.wire_ratio:.2f} times the values in float32"
    )


if __name__ == "__main__":
    main()
