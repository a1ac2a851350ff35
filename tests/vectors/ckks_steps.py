"""Vectors of the single steps of the summation under CKKS: draws, layouts, keys, encryptions, openings."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from reference import ckks as reference
from reference.ckks_primitives import (
    D,
    Rows,
    add,
    gauss,
    pack_rows,
    primes_below,
    residues,
    ternary,
    times,
    uniform,
)
from reference.seal_random import encryption_randomness
from reference.secagg_primitives import hash_, identity_public
from vectors.ckks_play import tag, vector

Case = dict[str, Any]

#: (degree, bits of p_0, bits of a message prime, how many, bits of p_s): small for the files' sake.
SMALL = (2048, 17, 17, 1, 20)
WIDE = (4096, 52, 17, 2, 22)


def shown(rows: Rows, primes: Sequence[int]) -> Case:
    digest = hashlib.sha256(pack_rows(rows, list(primes))).hexdigest()
    return {"first": [row[:3] for row in rows], "sha256": digest}


def shown_values(values: Sequence[int]) -> Case:
    """Signed values, hashed as 16-byte big-endian two's complement."""
    data = b"".join(value.to_bytes(16, "big", signed=True) for value in values)
    return {"first": list(values[:8]), "sha256": hashlib.sha256(data).hexdigest()}


def ring_of(degree: int, noise: int, message: int, messages: int, special: int) -> reference.Ring:
    message_primes = primes_below(message, degree, messages)
    noise_prime = primes_below(noise, degree, 1, tuple(message_primes))[0]
    chosen = (noise_prime, *message_primes)
    return reference.Ring(degree, chosen, primes_below(special, degree, 1, chosen)[0])


def written(ring: reference.Ring) -> Case:
    return {"degree": ring.degree, "primes": list(ring.primes), "special_prime": ring.special}


def ring_in(case: Case) -> reference.Ring:
    return reference.Ring(case["degree"], tuple(case["primes"]), case["special_prime"])


def rings() -> Case:
    names = ("degree", "noise_bits", "message_bits", "messages", "special_bits")
    asked = [
        SMALL,
        WIDE,
        (4096, 24, 40, 1, 45),
        (8192, 17, 48, 3, 57),
        (16384, 55, 48, 7, 47),
        (4096, 36, 36, 1, 36),
    ]
    return {
        "about": "The primes that bit lengths name: the largest that are 1 modulo 2N, message primes first.",
        "rings": [{**dict(zip(names, bits, strict=True)), "ring": written(ring_of(*bits))} for bits in asked],
    }


def draws() -> Case:
    degree, seed = 2048, tag("draws")
    primes = [65537, primes_below(43, degree, 1)[0], primes_below(60, degree, 1)[0]]
    variances = [11, 2**20 + 1, 2**56, 2**56 + 1, 2**84 + 12345]
    return {
        "about": "Ternary, Gauss and Uniform of section 2. Values are hashed as 16 bytes each, big-endian.",
        "seed": seed.hex(),
        "degree": degree,
        "ternary": shown_values(ternary(seed, degree)),
        "gauss": [{"variance": str(v), **shown_values(gauss(seed, v, degree))} for v in variances],
        "uniform": {"primes": primes, **shown(uniform(seed, primes, degree), primes)},
    }


def layouts() -> Case:
    made = []
    for name, ring, n, bound, digits, dimension in (
        ("one digit", ring_of(*SMALL), 3, 100, 1, 11),
        ("three digits", ring_of(4096, 24, 40, 1, 45), 5, 400, 3, 10),
        ("three primes", ring_of(8192, 17, 48, 3, 57), 10, 2**19, 1, 8),
        ("three chunks", ring_of(*SMALL), 2, 8000, 1, 4099),
        ("ends", ring_of(*SMALL), 4, 4, 3, 7),
    ):
        layout = reference.Layout(ring, n, bound, digits, dimension)
        last = layout.chunks - 1
        given = [vector(name, i, bound, layout.values_in(last)) for i in range(1, n + 1)]
        if name == "ends":
            given = [[bound, -bound] * 3 + [bound]] * n  # the sums are the largest that there are
        placed = [layout.place(values) for values in given]
        total = placed[0]
        for rows in placed[1:]:
            total = add(total, rows, ring.q[1:])
        made.append(
            {
                "name": name,
                "ring": written(ring),
                "n": n,
                "bound": bound,
                "digits": digits,
                "dimension": dimension,
                "chunks": layout.chunks,
                "used": [layout.used(chunk) for chunk in range(layout.chunks)],
                "values": given,
                "residues": placed,
                "sum": layout.read(total, layout.values_in(last)),
                "answer": layout.answer(layout.read(total, layout.values_in(last))).hex(),
            }
        )
    return {
        "about": "Section 3, for the last chunk of each client, and a sole holder's answer.",
        "layouts": made,
    }


class Setup:
    """Holders with a key, all from the vector's name."""

    def __init__(
        self,
        name: str,
        bits: tuple[int, int, int, int, int],
        holders: Sequence[int],
        t: int,
        gone: Sequence[int] = (),
    ) -> None:
        self.name, self.ring, self.holders, self.t, self.number = name, ring_of(*bits), list(holders), t, 7
        self.dealers = [i for i in holders if i not in gone]
        self.session = tag(name, "session")
        self.dealt = {
            A: {i: tag(name, "dealt", A, i) for i in A if i in self.dealers}
            for A in reference.subsets(holders, t)
        }
        self.secrets = {
            A: reference.subset_secret(self.session, self.number, A, dealt) for A, dealt in self.dealt.items()
        }
        q = self.ring.key_q
        self.a = reference.common(self.session, self.number, self.ring)
        parts = {A: reference.part(self.a, secret, self.ring) for A, secret in self.secrets.items()}
        nothing: Rows = [[0] * self.ring.degree for _ in q]
        self.parts = dict.fromkeys(self.dealers, nothing)
        for A, rows in parts.items():
            leader = min(i for i in A if i in self.dealers)
            self.parts[leader] = add(self.parts[leader], rows, q)
        self.b = nothing
        for rows in self.parts.values():
            self.b = add(self.b, rows, q)
        self.key = reference.key_name(self.session, self.number, self.dealers, pack_rows(self.b, q))

    def share(self, j: int) -> Rows:
        return reference.share(self.holders, self.secrets, j, self.ring)

    def opening(self) -> Case:
        return {
            "ring": written(self.ring),
            "holders": self.holders,
            "threshold": self.t,
            "session": self.session.hex(),
            "key_number": self.number,
            "dealers": self.dealers,
            "secrets": [{"subset": list(A), "secret": k.hex()} for A, k in self.secrets.items()],
        }

    def case(self, about: str) -> Case:
        q = self.ring.key_q
        return {
            "about": about,
            **self.opening(),
            "dealt": [
                {"subset": list(A), "dealt": {str(i): given.hex() for i, given in dealt.items()}}
                for A, dealt in self.dealt.items()
            ],
            "common": shown(self.a, q),
            "subset_keys": [
                {
                    "subset": list(A),
                    "secret_key": shown_values(reference.secret_of(k, self.ring)),
                    "error": shown_values(reference.error_of(k, self.ring)),
                    "again": reference.again(k, self.number + 1).hex(),
                    "weights": {
                        str(j): [reference.weight(self.holders, A, j, p) for p in self.ring.primes] for j in A
                    },
                }
                for A, k in self.secrets.items()
            ],
            "parts": {
                str(i): {
                    **shown(rows, q),
                    "commitment": reference.commitment(
                        self.session, self.number, self.dealers, i, pack_rows(rows, q)
                    ).hex(),
                }
                for i, rows in self.parts.items()
            },
            "public": shown(self.b, q),
            "key": self.key.hex(),
            "shares": {str(j): shown(self.share(j), self.ring.q) for j in self.dealers},
        }


class Uploads:
    """n encrypted vectors of one chunk under the key of a setup."""

    def __init__(self, setup: Setup, n: int, bound: int, digits: int, dimension: int) -> None:
        self.setup, self.ring = setup, setup.ring
        self.layout = reference.Layout(self.ring, n, bound, digits, dimension)
        self.values = {i: vector(setup.name, i, bound, dimension) for i in range(1, n + 1)}
        self.seeds = {i: [tag(setup.name, i, word) for word in ("u", "e_0", "e_1")] for i in self.values}
        self.ciphertexts = {i: self.encrypted(i) for i in self.values}
        self.identities = {i: tag(setup.name, "identity", i) for i in self.values}
        self.round, self.context = 3, tag(setup.name, "context")
        self.statements = {i: self.statement(i) for i in self.values}
        self.signatures = {
            i: reference.sign_upload(self.identities[i], self.statements[i]) for i in self.values
        }

    def encrypted(self, i: int) -> tuple[Rows, Rows]:
        return encrypted(
            (self.setup.b, self.setup.a), self.seeds[i], self.layout.place(self.values[i]), self.ring
        )

    def packed(self, i: int) -> tuple[bytes, bytes]:
        c_0, c_1 = self.ciphertexts[i]
        return pack_rows(c_0, self.ring.q), pack_rows(c_1, self.ring.q)

    def statement(self, i: int) -> bytes:
        listed = reference.digests([self.packed(i)])
        return reference.upload_statement(
            self.setup.session, self.round, self.context, self.setup.key, listed
        )

    def total(self) -> tuple[Rows, Rows]:
        first, *others = self.ciphertexts.values()
        c_0, c_1 = first
        for pair in others:
            c_0, c_1 = add(c_0, pair[0], self.ring.q), add(c_1, pair[1], self.ring.q)
        return c_0, c_1

    def case(self) -> Case:
        c_0, c_1 = self.total()
        return {
            "n": self.layout.n,
            "bound": self.layout.bound,
            "digits": self.layout.digits,
            "dimension": self.layout.dimension,
            "round": self.round,
            "context": self.context.hex(),
            "key": self.setup.key.hex(),
            "clients": {
                str(i): {
                    "values": self.values[i],
                    "seeds": [seed.hex() for seed in self.seeds[i]],
                    "c_0": shown(self.ciphertexts[i][0], self.ring.q),
                    "c_1": shown(self.ciphertexts[i][1], self.ring.q),
                    "identity": self.identities[i].hex(),
                    "public": identity_public(self.identities[i]).hex(),
                    "digests": reference.digests([self.packed(i)]).hex(),
                    "signature": self.signatures[i].hex(),
                }
                for i in self.values
            },
            "sum_of_c_0": shown(c_0, self.ring.q),
            "sum_of_c_1": shown(c_1, self.ring.q),
            "sum": self.sums(),
        }

    def sums(self) -> list[int]:
        return [sum(column) for column in zip(*self.values.values(), strict=True)]


def encrypted(
    public: tuple[Rows, Rows], seeds: Sequence[bytes], placed: Rows, ring: reference.Ring
) -> tuple[Rows, Rows]:
    """A textbook encryption whose randomness comes from three seeds."""
    u, errors = ternary(seeds[0], ring.degree), [gauss(seed, 11, ring.degree) for seed in seeds[1:]]
    c_0, c_1 = reference.encrypt_zero(public, u, errors, ring)
    return reference.put(c_0, placed, ring), c_1


def sole(setup: Setup, about: str) -> Case:
    """A sum that a sole holder opens."""
    uploads, ring = Uploads(setup, 3, 100, 1, 50), setup.ring
    c_0, c_1 = uploads.total()
    secret = reference.secret_of(setup.secrets[tuple(setup.holders)], ring)
    noise, rows = reference.opened(c_0, times(c_1, residues(secret, ring.q), ring.q), ring)
    reference.check_noise(noise, ring)
    sums = uploads.layout.read(rows, uploads.layout.dimension)
    return {
        "about": about,
        **setup.opening(),
        **uploads.case(),
        "noise": noise,
        "noise_limit": ring.primes[0] // 2**5,
        "answer": uploads.layout.answer(sums).hex(),
    }


def shared(setup: Setup, variance: int, about: str) -> Case:
    """A sum that t of K holders open, for the first and the last t."""
    uploads, ring = Uploads(setup, 3, 100, 1, 50), setup.ring
    c_0, c_1 = uploads.total()
    second = hash_(f"{D} second", pack_rows(c_1, ring.q))
    floods = {
        A: reference.flood(secret, uploads.round, second, 0, variance, ring)
        for A, secret in setup.secrets.items()
    }
    answers = {
        j: reference.partial(setup.holders, floods, setup.share(j), j, c_1, ring) for j in setup.dealers
    }
    chosen = [setup.dealers[: setup.t], setup.dealers[-setup.t :]]
    combined = [reference.combine(setup.holders, {j: answers[j] for j in group}, ring) for group in chosen]
    assert combined[0] == combined[1]
    noise, rows = reference.opened(c_0, combined[0], ring)
    reference.check_noise(noise, ring)
    assert uploads.layout.read(rows, uploads.layout.dimension) == uploads.sums()
    return {
        "about": about,
        **setup.opening(),
        **uploads.case(),
        "flood_variance": str(variance),
        "second_digest": second.hex(),
        "floods": [{"subset": list(A), **shown_values(values)} for A, values in floods.items()],
        "answers": {str(j): shown(rows, ring.q) for j, rows in answers.items()},
        "lagrange": [
            {str(j): [reference.lagrange(setup.holders, group, j, p) for p in ring.primes] for j in group}
            for group in chosen
        ],
        "combined": shown(combined[0], ring.q),
        "noise": noise,
        "noise_limit": ring.primes[0] // 2**5,
    }


def setups() -> dict[str, Setup]:
    return {
        "authority": Setup("authority", SMALL, [0], 1),
        "shared_key": Setup("shared key", SMALL, [1, 2, 3], 1),
        "threshold": Setup("threshold", WIDE, [1, 2, 4, 7, 9], 4),
        "threshold_gone": Setup("threshold, one gone", WIDE, [2, 3, 5, 6], 3, gone=[3]),
    }


def steps() -> dict[str, Case]:
    made = setups()
    variance = 2**84 + 12345
    return {
        "ckks_rings": rings(),
        "ckks_seal": seal(made),
        "ckks_draws": draws(),
        "ckks_layouts": layouts(),
        "ckks_key_authority": made["authority"].case("One holder, number 0."),
        "ckks_key_shared_key": made["shared_key"].case("All three clients hold the one secret."),
        "ckks_key_threshold": made["threshold"].case("Four of five holders; all dealt."),
        "ckks_key_threshold_gone": made["threshold_gone"].case("Three of four holders; 3 did not deal."),
        "ckks_sum_authority": sole(made["authority"], "Three clients, opened by the authority."),
        "ckks_sum_threshold": shared(
            made["threshold"], variance, "Three clients, opened by four of five holders."
        ),
        "ckks_sum_threshold_gone": shared(
            made["threshold_gone"],
            variance,
            "Three clients, opened by three of four holders, of whom 3 is away.",
        ),
    }


def seal(setups: dict[str, Setup]) -> Case:
    """What SEAL makes of a public key, with its generator (BLAKE2Xb) under a seed of 64 bytes."""
    made = []
    for setup in setups.values():
        ring, seed = setup.ring, tag(setup.name, "seal", 0) + tag(setup.name, "seal", 1)
        u, errors = encryption_randomness(seed, ring.degree)
        c_0, c_1 = reference.encrypt_zero((setup.b, setup.a), u, errors, ring)
        made.append(
            {
                "key_of": setup.name,
                "public": shown(setup.b, ring.key_q),
                "seed": seed.hex(),
                "u": shown_values(u),
                "e_0": shown_values(errors[0]),
                "e_1": shown_values(errors[1]),
                "c_0": shown(c_0, ring.q),
                "c_1": shown(c_1, ring.q),
            }
        )
    return {
        "about": "SEAL's encryptions of zero under a seed; those of a run have none.",
        "encryptions": made,
    }
