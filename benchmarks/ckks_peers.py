"""The peers of ``ckks.py``, run by it in an environment that has ``PEERS`` of that script.

Jobs come as JSON, one a line, on standard input; each is answered by one line of JSON on standard output.

- ``nvflare``: NVFlare's own HEModelEncryptor, HEInTimeAccumulateWeightedAggregator and HEModelDecryptor, with
  the context that its HEBuilder makes when nothing is configured, and its serialiser (fobs) on the way.  No
  job runner and no network; each call is one that a job makes, in a job's order.
- ``tenseal``: the same work with TenSEAL alone, under a public key, all values in one vector.
- ``seal``: TenSEAL's binding of SEAL, two values in a complex slot, one chunk after the other.

Values are the same for all: ``values(client, count)``.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tenseal as ts
import tenseal.sealapi as seal
import zstandard
from numpy.typing import NDArray
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_opt.he.intime_accumulate_model_aggregator import HEInTimeAccumulateWeightedAggregator
from nvflare.app_opt.he.model_decryptor import HEModelDecryptor
from nvflare.app_opt.he.model_encryptor import HEModelEncryptor
from nvflare.fuel.sec.security_content_service import SecurityContentService
from nvflare.fuel.utils import fobs
from nvflare.lighter.impl.he import HEBuilder

SPREAD = 0.01
SCALE = 2.0**40
# name -> ring degree, bits of the primes
VECTORS = {"8192 [60,40,60]": (8192, [60, 40, 60]), "4096 [60,49]": (4096, [60, 49])}


def values(client: int, count: int) -> NDArray[np.float32]:
    """One client's update."""
    return np.random.default_rng(client).normal(0, SPREAD, count).astype(np.float32)


class Stopwatch:
    """Processor seconds by label, one entry a call."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def run(self, label: str, work: Callable[..., Any], *arguments: Any) -> Any:
        start = time.process_time()
        result = work(*arguments)
        self.seconds.setdefault(label, []).append(time.process_time() - start)
        return result


class NVFlare:
    """One site of each kind, with a context of its own making."""

    def __init__(self) -> None:
        builder = HEBuilder()
        start = time.process_time()
        builder.initialize(None, None)
        self.key_s = time.process_time() - start
        with tempfile.TemporaryDirectory() as folder:
            for name, is_client in (("client", True), ("server", False)):
                data = builder.get_serialized_context(is_client=is_client)
                (Path(folder) / f"{name}_context.tenseal").write_bytes(data)
            SecurityContentService.initialize(folder)
            self.context = FLContext()
            self.context.set_prop(FLContextKey.SECURE_MODE, False)
            self.context.set_prop(AppConstants.CURRENT_ROUND, 0)
            self.context.set_peer_context(FLContext())
            self.encryptor, self.decryptor = HEModelEncryptor(), HEModelDecryptor()
            self.aggregator = HEInTimeAccumulateWeightedAggregator()
            for site in (self.encryptor, self.decryptor, self.aggregator):
                site.handle_event(EventType.START_RUN, self.context)
        self.secret, self.bits = builder._context, builder.coeff_mod_bit_sizes

    def round(self, shapes: Mapping[str, list[int]], clients: int) -> dict[str, Any]:
        watch = Stopwatch()
        sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
        count = sum(sizes.values())
        expected = np.zeros(count)
        data = b""
        for client in range(clients):
            update = values(client, count)
            expected += update
            pieces = np.split(update, np.cumsum(list(sizes.values()))[:-1])
            tensors = {
                name: piece.reshape(shape)
                for (name, shape), piece in zip(shapes.items(), pieces, strict=True)
            }
            made = DXO(DataKind.WEIGHT_DIFF, data=tensors, meta={MetaKey.NUM_STEPS_CURRENT_ROUND: 1})
            shareable = watch.run("encrypt", self.encryptor.process, made.to_shareable(), self.context)
            data = watch.run("serialise", fobs.dumps, shareable)
            arrived = watch.run("load", fobs.loads, data)
            arrived.set_peer_props({ReservedKey.IDENTITY_NAME: f"site-{client}"})
            arrived.add_cookie(AppConstants.CONTRIBUTION_ROUND, 0)
            if not watch.run("add", self.aggregator.accept, arrived, self.context):
                raise SystemExit("NVFlare's aggregator refused an update")
            del shareable, arrived
        aggregate = watch.run("finish", lambda: fobs.dumps(self.aggregator.aggregate(self.context)))
        received = fobs.loads(aggregate)
        sums = dict(from_shareable(received).data)
        opened = from_shareable(watch.run("decrypt", self.decryptor.process, received, self.context)).data
        released = np.concatenate([np.asarray(opened[name]) for name in shapes])
        first = next(iter(shapes))
        return {
            "cpu_s": watch.seconds,
            "bytes": len(data),
            "values": count,
            "clients": clients,
            "error": float(np.abs(released * clients - expected).max()),
            "key_s": self.key_s,
            "key_recovered": self.recovers(sums[first], np.asarray(opened[first])),
        }

    def recovers(self, aggregate: ts.CKKSVector, released: NDArray[np.float64]) -> bool | None:
        """Whether the aggregate and what was released of it give the secret key (Li, Micciancio 2021).

        The released reals are those of p = c0 + c1 s, so 2 encode(released) = p + p*, where * conjugates.
        Two full ciphertexts are two linear equations in s and s*.  The key itself is only compared with.
        None: no two full ciphertexts.
        """
        degree = aggregate.ciphertext()[0].poly_modulus_degree()
        slots = degree // 2
        if len(released) < 2 * slots:
            return None
        context = native_context(degree, self.bits)
        encoder = seal.CKKSEncoder(context)
        prime = seal.CoeffModulus.Create(degree, self.bits)[0].value()
        secret = residues(self.secret.secret_key().data, (len(self.bits), degree))[0]
        rows = []
        for number in range(2):
            cipher = aggregate.ciphertext()[number]
            plain = seal.Plaintext()
            own = 2 * released[number * slots : (number + 1) * slots]
            encoder.encode(own.tolist(), cipher.parms_id(), cipher.scale, plain)
            c0, c1 = (big(row) for row in residues(cipher, (2, 1, degree))[:, 0])
            rows.append((big(residues(plain, (degree,))) - c0 - c0[::-1], c1))
        # In SEAL's order of evaluation points conjugation turns the row around.
        (first, a), (second, b) = rows
        determinant = (a * b[::-1] - b * a[::-1]) % prime
        inverse = np.array([pow(each, -1, prime) if each else 0 for each in determinant], dtype=object)
        found = (first * b[::-1] - second * a[::-1]) * inverse % prime
        return bool((found == big(secret)).all())


def big(row: NDArray[np.uint64]) -> NDArray[np.object_]:
    """Python integers, for products beyond 64 bits."""
    return row.astype(object)


def saved(item: Any) -> bytes:
    """SEAL's own bytes of an object, written to a file in memory."""
    number = os.memfd_create("seal")
    try:
        item.save(f"/proc/self/fd/{number}")
        return os.pread(number, os.fstat(number).st_size, 0)
    finally:
        os.close(number)


def loaded(item: Any, context: Any, data: bytes) -> Any:
    number = os.memfd_create("seal")
    try:
        os.write(number, data)
        item.load(context, f"/proc/self/fd/{number}")
        return item
    finally:
        os.close(number)


def residues(item: Any, shape: tuple[int, ...]) -> NDArray[np.uint64]:
    """The words that end what SEAL saves: residues, prime by prime."""
    words = zstandard.ZstdDecompressor().decompressobj().decompress(saved(item)[16:])
    return np.frombuffer(words[-8 * int(np.prod(shape)) :], dtype="<u8").reshape(shape)


def native_context(degree: int, bits: list[int]) -> Any:
    parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
    parameters.set_poly_modulus_degree(degree)
    parameters.set_coeff_modulus(seal.CoeffModulus.Create(degree, bits))
    return seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)


def tenseal(setup: str, count: int, clients: int) -> dict[str, Any]:
    """One vector of all values under a public key; the server has no secret key."""
    degree, bits = VECTORS[setup]
    watch, expected, total, data = Stopwatch(), np.zeros(count), None, b""
    start = time.process_time()
    holder = ts.context(
        ts.SCHEME_TYPE.CKKS, degree, coeff_mod_bit_sizes=bits, encryption_type=ts.ENCRYPTION_TYPE.ASYMMETRIC
    )
    key_s = time.process_time() - start
    holder.global_scale = SCALE
    public = ts.context_from(holder.serialize(save_secret_key=False, save_galois_keys=False))
    for client in range(clients):
        update = values(client, count)
        expected += update
        vector = watch.run("encrypt", ts.ckks_vector, public, update)
        data = watch.run("serialise", vector.serialize)
        arrived = watch.run("load", ts.ckks_vector_from, public, data)
        total = arrived if total is None else watch.run("add", total.add_, arrived)
        del vector, arrived
    opened = watch.run("decrypt", total.decrypt, holder.secret_key())
    return {
        "cpu_s": watch.seconds,
        "bytes": len(data),
        "values": count,
        "clients": clients,
        "error": float(np.abs(np.asarray(opened) - expected).max()),
        "key_s": key_s,
    }


class Chunks:
    """SEAL by TenSEAL's binding: chunks of as many values as the ring degree, two in a slot."""

    def __init__(self, degree: int, bits: list[int]) -> None:
        start = time.process_time()
        self.context = native_context(degree, bits)
        keys = seal.KeyGenerator(self.context)
        public = seal.PublicKey()
        keys.create_public_key(public)
        self.key_s = time.process_time() - start
        self.degree = degree
        self.encoder = seal.CKKSEncoder(self.context)
        self.encryptor = seal.Encryptor(self.context, public)
        self.decryptor = seal.Decryptor(self.context, keys.secret_key())
        self.evaluator = seal.Evaluator(self.context)

    def encrypt(self, chunk: NDArray[np.float32]) -> bytes:
        slots = np.zeros(self.degree, dtype=np.float64)
        slots[: len(chunk)] = chunk
        plain, cipher = seal.Plaintext(), seal.Ciphertext()
        self.encoder.encode(slots.view(np.complex128).tolist(), SCALE, plain)
        self.encryptor.encrypt(plain, cipher)
        return saved(cipher)

    def decrypt(self, cipher: Any) -> NDArray[np.float64]:
        plain = seal.Plaintext()
        self.decryptor.decrypt(cipher, plain)
        return np.array(self.encoder.decode_complex(plain)).view(np.float64)

    def add(self, totals: list[Any], arrived: list[Any]) -> None:
        for total, cipher in zip(totals, arrived, strict=True):
            self.evaluator.add_inplace(total, cipher)

    def pieces(self, update: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        yield from (update[start : start + self.degree] for start in range(0, len(update), self.degree))

    def round(self, count: int, clients: int) -> dict[str, Any]:
        watch, expected, totals, size = Stopwatch(), np.zeros(count), [], 0
        for client in range(clients):
            update = values(client, count)
            expected += update
            data = watch.run("encrypt", lambda u=update: [self.encrypt(piece) for piece in self.pieces(u)])
            size = sum(map(len, data))
            arrived = watch.run(
                "load", lambda d=data: [loaded(seal.Ciphertext(), self.context, each) for each in d]
            )
            if totals:
                watch.run("add", self.add, totals, arrived)
            else:
                totals = arrived
        opened = watch.run("decrypt", lambda: np.concatenate([self.decrypt(each) for each in totals]))
        return {
            "cpu_s": watch.seconds,
            "bytes": size,
            "values": count,
            "clients": clients,
            "error": float(np.abs(opened[:count] - expected).max()),
            "key_s": self.key_s,
        }


def resident(what: str) -> int:
    """KiB, by the kernel's name: VmRSS, or VmHWM for the most since ``clear_refs`` was last written."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what))


def client_memory(count: int) -> dict[str, Any]:
    """How far the resident set rises over the plain vector while one NVFlare client makes its message."""
    site = NVFlare()
    site.round({"warm": [100]}, 1)
    update = {"update": values(0, count)}
    shareable = DXO(
        DataKind.WEIGHT_DIFF, data=update, meta={MetaKey.NUM_STEPS_CURRENT_ROUND: 1}
    ).to_shareable()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = resident("VmRSS")
    size = len(fobs.dumps(site.encryptor.process(shareable, site.context)))
    return {"rise_kib": resident("VmHWM") - before, "bytes": size}


def main() -> None:
    logging.disable(logging.WARNING)
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what TenSEAL prints is no answer
    flare: NVFlare | None = None
    for line in sys.stdin:
        job = json.loads(line)
        match job["do"]:
            case "nvflare":
                flare = flare or NVFlare()
                answer = flare.round(job["shapes"], job["clients"])
            case "tenseal":
                answer = tenseal(job["setup"], job["count"], job["clients"])
            case "seal":
                answer = Chunks(4096, [60, 49]).round(job["count"], job["clients"])
            case "client memory":
                answer = client_memory(job["count"])
            case _:
                answer = {name: version(name) for name in ("nvflare", "tenseal", "numpy")}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
