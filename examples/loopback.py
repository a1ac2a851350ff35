"""Twenty clients, each a process of its own, sum their vectors over sockets; nobody sees a single one.

    python examples/loopback.py

Every client has an identity file, the roster, and a sealed state on its disk; the server has the roster only.
Rounds after the first take three exchanges instead of five.  In round 2 a client is killed after its upload:
its vector is still in the sum.  It comes back with the state it saved, and takes part again in round 3.

The transport is the least that works: frames on a TCP connection.  A real one would be encrypted (TLS).
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from fedpriv import keystore, secagg

CLIENTS, ROUNDS, RUN_ID = 20, 3, b"loopback example"
PARAMS = secagg.SecAggParams.for_cohort(
    CLIENTS,
    max_colluders=2,
    vectors=[
        secagg.Vector.for_sum("update", clients=CLIENTS, largest=2**15, signed=True, dimension=10_000),
        secagg.Vector.for_sum("records", clients=CLIENTS, largest=10_000),
    ],
)
VICTIM, LOST_ROUND = 7, 2


def context(round_: int) -> bytes:
    """Stands for the digest of the round's model and configuration."""
    return round_.to_bytes(32, "big")


def local_work(client: int, round_: int) -> dict[str, np.ndarray]:
    """Stands for training: an update, negative values as two's complement, and how many records it took."""
    rng = np.random.default_rng((client, round_))
    update = rng.integers(-(2**15), 2**15, 10_000)
    records = rng.integers(1, 10_001, 1, dtype=np.uint64)
    return {"update": (update % 2 ** PARAMS.vectors[1].bits).astype(np.uint64), "records": records}


# --- a client: identity, roster, saved state, and an answer to each request ---------------------------------


def client_main(folder: Path, port: int) -> None:
    """Answer the server until it sends an empty frame."""
    identity = keystore.load_identity(folder / "identity.pem")
    roster = keystore.load_roster(folder.parent / "roster.toml")
    number = roster.client_of(identity.public)
    floors = secagg.Floors(survivors=10, colluders=2)
    client = secagg.Client(PARAMS, RUN_ID, number, identity, roster.keys, os.urandom, floors=floors)
    with keystore.StateFile(folder / "state") as state, socket.create_connection(("127.0.0.1", port)) as wire:
        saved = state.load()
        if saved is not None:
            client.restore(saved[0], least_sequence=saved[1])
        send(wire, number.to_bytes(4, "big"))
        while frame := receive(wire):
            answer = iter(())
            if frame[:1] == b"R":
                round_ = int.from_bytes(frame[1:9], "big")
                client.open_round(round_, context(round_))
                client.set_vectors(local_work(number, round_))
            else:
                answer = client.handle(frame[1:])
            # On the disk before anything is sent: a client that forgot its answer could give another.
            state.store(client.save(), client.sequence)
            for message in answer:
                send(wire, message)
            send(wire, b"")


# --- the server: opens rounds, passes bytes, and learns the sums --------------------------------------------


class Wires:
    """One connection a client; who does not answer within the time is gone until it connects again."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.wires: dict[int, socket.socket] = {}

    def accept(self, expected: int) -> None:
        """Wait until so many clients are connected."""
        while len(self.wires) < expected:
            wire, _ = self.listener.accept()
            wire.settimeout(30)
            self.wires[int.from_bytes(receive(wire), "big")] = wire

    def ask(self, client: int, frame: bytes) -> list[bytes] | None:
        """The messages of a client's answer, or nothing if it is gone."""
        try:
            send(self.wires[client], frame)
            return list(iter(lambda: receive(self.wires[client]), b""))
        except (OSError, EOFError, KeyError):
            self.wires.pop(client, None)
            return None


def run_round(
    server: secagg.Server, wires: Wires, round_: int, clients: dict[int, subprocess.Popen]
) -> list[str]:
    """One round; the names of its exchanges."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        opening = b"R" + round_.to_bytes(8, "big")
        list(pool.map(lambda client: wires.ask(client, opening), list(wires.wires)))
        server.open_round(round_, context(round_), prepare=round_ < ROUNDS)
        exchanges, lock = [], threading.Lock()

        def exchange(client: int) -> None:
            for message in wires.ask(client, b"Q" + server.request(client)) or ():
                with lock:
                    server.receive(client, message)

        while not server.finished:
            exchanges.append(server.stage)
            list(pool.map(exchange, server.asked))
            if round_ == LOST_ROUND and server.stage == "upload":
                clients[VICTIM].kill()
            server.advance()
    return exchanges


# --- the example: make identities, start the processes, compare with the plain sums -------------------------


def main() -> None:
    """Run the example in a temporary folder."""
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        publics = []
        for number in range(1, CLIENTS + 1):
            folder = home / f"client-{number}"
            folder.mkdir()
            keystore.new_identity(folder / "identity.pem", name=folder.name)
            publics.append(keystore.load_public(folder / "identity.pem.pub"))
        roster = keystore.write_roster(home / "roster.toml", publics)
        print(f"{CLIENTS} clients, roster {roster.fingerprint}")

        wires = Wires()
        clients = {number: start(home, number, wires.port) for number in range(1, CLIENTS + 1)}
        try:
            server = secagg.Server(PARAMS, RUN_ID, roster.keys)
            for round_ in range(1, ROUNDS + 1):
                wires.accept(CLIENTS)
                exchanges = run_round(server, wires, round_, clients)
                check(server.result(), round_, exchanges)
                if round_ == LOST_ROUND:
                    clients[VICTIM].wait()
                    clients[VICTIM] = start(home, VICTIM, wires.port)
        finally:
            for wire in wires.wires.values():
                send(wire, b"")
            for process in clients.values():
                process.wait(timeout=30)


def check(result: secagg.Sum, round_: int, exchanges: list[str]) -> None:
    """Compare with the sums in the clear, which only this example can know."""
    for vector in PARAMS.vectors:
        plain = sum(local_work(client, round_)[vector.name] for client in result.survivors)
        assert np.array_equal(result.vectors[vector.name], plain % 2**vector.bits), vector.name
    records = int(result.vectors["records"][0])
    print(
        f"round {round_}: {len(exchanges)} exchanges ({', '.join(exchanges)}), "
        f"{len(result.survivors)} of {CLIENTS} in the sum, {records} records; both sums exact"
    )


def start(home: Path, number: int, port: int) -> subprocess.Popen:
    """Start one client's process."""
    folder = home / f"client-{number}"
    return subprocess.Popen([sys.executable, __file__, "client", str(folder), str(port)])


def send(wire: socket.socket, data: bytes) -> None:
    """One frame: its length in four bytes, and its bytes."""
    wire.sendall(struct.pack(">I", len(data)) + data)


def receive(wire: socket.socket) -> bytes:
    """The next frame."""
    return read(wire, struct.unpack(">I", read(wire, 4))[0])


def read(wire: socket.socket, count: int) -> bytes:
    """So many bytes."""
    data = bytearray()
    while len(data) < count:
        piece = wire.recv(count - len(data))
        if not piece:
            raise EOFError("the other side ended the connection")
        data += piece
    return bytes(data)


if __name__ == "__main__":
    if sys.argv[1:2] == ["client"]:
        client_main(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
