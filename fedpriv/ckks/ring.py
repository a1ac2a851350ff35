"""Ring arithmetic and encryption by Microsoft SEAL, through TenSEAL's low-level bindings.

The only module that imports TenSEAL, when the first ring is made.  All that goes in and comes out are
coefficients, as canonical residues; that SEAL works on transforms of them does not show.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.ckks import modular
from fedpriv.ckks.native_form import load, saved, split
from fedpriv.ckks.primes import MAX_PRIME_BITS, ring_primes
from fedpriv.ckks.ring_params import RingParams
from fedpriv.errors import UsageError

__all__ = ["Encryptor", "Factor", "Ring"]

_SEED_BYTES: Final = 64
_MAX_POLYNOMIALS: Final = 7  # in one call; SEAL's limit is 16, but more than this leave the cache


class Ring:
    """The two rings of a run: R_q of ciphertexts, and R_q' of keys.

    Args:
        params: degree and primes.
        insecure_seed: for test vectors only, 64 bytes.  Every encryption then draws the same randomness, all
            of which follows from the seed: whoever knows it reads every plaintext.  None draws from the
            system's generator, as it must be.

    Raises:
        UsageError: a seed of another length.

    >>> params = RingParams.of_bits(4096, 17, 45, 1, 47)
    >>> ring = Ring(params)
    >>> x = np.zeros((1, 2, 4096), np.uint64); x[0, :, 1] = 5
    >>> last = np.zeros((2, 4096), np.uint64); last[:, 4095] = 1
    >>> ring.times(x, ring.factor(last))[0, :, 0].tolist() == [p - 5 for p in params.primes]
    True
    """

    __slots__ = ("_ciphertexts", "_seed", "params")

    def __init__(self, params: RingParams, *, insecure_seed: bytes | None = None) -> None:
        if insecure_seed is not None and len(insecure_seed) != _SEED_BYTES:
            raise UsageError(f"A seed of a ring has {_SEED_BYTES} bytes, not {len(insecure_seed)}.")
        self.params = params
        self._seed = insecure_seed
        self._ciphertexts: _Level | None = None

    def _of_ciphertexts(self) -> _Level:
        """Arithmetic modulo q, made at its first use and kept."""
        if self._ciphertexts is None:
            params = self.params
            self._ciphertexts = _Level(params.degree, params.key_primes, secure=True, seed=self._seed)
        return self._ciphertexts

    def _of_keys(self) -> _Level:
        """Arithmetic modulo q', made anew for each use: few are needed, and its tables are large.

        SEAL computes below its largest modulus only.  With one prime more, of a ring that encrypts nothing,
        q' is there to compute with.
        """
        params = self.params
        spare = next(p for p in ring_primes(MAX_PRIME_BITS, params.degree) if p not in params.key_primes)
        return _Level(params.degree, (*params.key_primes, spare), secure=False)

    def encryptor(self, public: NDArray[np.uint64]) -> Encryptor:
        """Take a public key.

        Args:
            public: (b, a) with b = −(a s + e): uint64, shape (2, L + 1, N), residues modulo ``key_primes``.

        Raises:
            UsageError: another shape or dtype, a residue that is not below its prime, or a second polynomial
                that is zero.
        """
        if public.ndim != 3 or len(public) != 2:
            raise UsageError(f"A public key is two polynomials, not an array of shape {public.shape}.")
        if not public[1:].any():
            raise UsageError("A public key whose second polynomial is zero hides nothing.")
        transformed = self._of_keys().transformed(public)
        return Encryptor(self._of_ciphertexts(), transformed)

    def factor(self, key: NDArray[np.uint64]) -> Factor:
        """Prepare a polynomial to be multiplied with many others.

        Args:
            key: uint64, shape (L, N), residues modulo ``primes``.

        Raises:
            UsageError: another shape or dtype, or a residue that is not below its prime.
        """
        return self._of_ciphertexts().factor(key)

    def times(self, polynomials: NDArray[np.uint64], factor: Factor) -> NDArray[np.uint64]:
        """Products in R_q.

        Args:
            polynomials: uint64, shape (k, L, N), residues modulo ``primes``.
            factor: what ``factor`` of this ring has made.

        Returns:
            uint64, shape (k, L, N), residues.

        Raises:
            UsageError: another shape or dtype, a residue that is not below its prime, or another ring's
                factor.
        """
        return self._of_ciphertexts().times(polynomials, factor)

    def public_part(
        self, a: NDArray[np.uint64], secret: NDArray[np.int64], error: NDArray[np.int64]
    ) -> NDArray[np.uint64]:
        """−(a s + e) in R_q': a part of a public key.

        Args:
            a: uint64, shape (L + 1, N), residues modulo ``key_primes``.
            secret: s, int64, shape (N,).
            error: e, int64, shape (N,).

        Returns:
            uint64, shape (L + 1, N), residues.

        Raises:
            UsageError: another shape or dtype, or a residue that is not below its prime.
        """
        primes = self.params.key_primes
        for name, polynomial in (("secret", secret), ("error", error)):
            if polynomial.shape != (self.params.degree,):
                raise UsageError(
                    f"The {name} has shape {polynomial.shape}, not one of {self.params.degree} coefficients."
                )
        keys = self._of_keys()
        product = keys.times(a[np.newaxis], keys.factor(modular.residues(secret, primes)))[0]
        return modular.negate(modular.add(product, modular.residues(error, primes), primes), primes)


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """A polynomial in the form in which SEAL multiplies; of one ring, and secret where the polynomial is."""

    level: _Level = field(repr=False)
    native: Any = field(repr=False)  # None where the polynomial is zero


class Encryptor:
    """Encrypts zero under one public key; ``Ring.encryptor`` makes it."""

    __slots__ = ("_level", "_native")

    def __init__(self, level: _Level, transformed: NDArray[np.uint64]) -> None:
        from tenseal import sealapi

        # The keys of this generator are never used: their saved form is what a key has to look like.
        template = sealapi.PublicKey()
        sealapi.KeyGenerator(level.context).create_public_key(template)
        start, head = split(saved(template, transformed.nbytes), transformed.nbytes)
        key = sealapi.PublicKey()
        load(key, level.context, start, head, transformed)
        self._level = level
        self._native = sealapi.Encryptor(level.context, key)

    def zero(self) -> NDArray[np.uint64]:
        """A fresh encryption of zero (``protocols/ckks/spec.md``, section 4).

        Returns:
            (c_0, c_1): uint64, shape (2, L, N), residues modulo ``primes``; read-only.

        Raises:
            UsageError: a key so far from uniform that c_1 is zero.
        """
        return self._level.encryption_of_zero(self._native)


class _Level:
    """Arithmetic in the ring modulo all given primes but the last, in the native form."""

    __slots__ = ("_ciphertext", "_degree", "_evaluator", "_heads", "_plaintext", "_plaintext_head", "_primes",
                 "_start", "context")  # fmt: skip

    def __init__(
        self, degree: int, primes: Sequence[int], *, secure: bool, seed: bytes | None = None
    ) -> None:
        from tenseal import sealapi

        native = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.CKKS)
        native.set_poly_modulus_degree(degree)
        native.set_coeff_modulus([sealapi.Modulus(prime) for prime in primes])
        if seed is not None:
            words = list(struct.unpack("<8Q", seed))
            native.set_random_generator(sealapi.Blake2xbPRNGFactory(words))
        level = sealapi.SEC_LEVEL_TYPE.TC128 if secure else sealapi.SEC_LEVEL_TYPE.NONE
        # False: no chain of smaller moduli below this one, since nothing is rescaled.
        self.context = sealapi.SEALContext(native, False, level)
        if not self.context.parameters_set():
            raise UsageError(f"SEAL refuses the ring: {self.context.parameters_error_message()}.")
        self._evaluator = sealapi.Evaluator(self.context)
        self._ciphertext, self._plaintext = sealapi.Ciphertext, sealapi.Plaintext
        self._degree, self._primes = degree, tuple(primes[:-1])

        one = sealapi.Plaintext()
        sealapi.CKKSEncoder(self.context).encode(1, 1.0, one)
        size = len(self._primes) * degree * 8
        self._start, self._plaintext_head = split(saved(one, size), size)
        self._heads: dict[int, bytes] = {}

    def transformed(self, polynomials: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The number-theoretic transforms of polynomials, shape (k, rows, N), 2 ≤ k ≤ 16."""
        self._check(polynomials)
        native = self._loaded(polynomials)
        self._evaluator.transform_to_ntt_inplace(native)
        return self._residues(native, len(polynomials))

    def factor(self, polynomial: NDArray[np.uint64]) -> Factor:
        """A polynomial, shape (rows, N), ready for ``times``."""
        self._check(polynomial[np.newaxis])
        if not polynomial.any():
            return Factor(self, None)
        transform = self.transformed(np.stack((polynomial, polynomial)))[0]
        native = self._plaintext()
        load(native, self.context, self._start, self._plaintext_head, transform)
        return Factor(self, native)

    def times(self, polynomials: NDArray[np.uint64], factor: Factor) -> NDArray[np.uint64]:
        """Products, shape (k, rows, N)."""
        if factor.level is not self:
            raise UsageError("A factor serves in the ring that made it.")
        self._check(polynomials)
        products = np.empty_like(polynomials, order="C")
        if factor.native is None:
            products[:] = 0
            return products
        # SEAL refuses a product that is zero but for its first polynomial, as it may be where a peer chose
        # them.  The constant 1 comes after them: times the factor it is not zero.
        one = np.zeros((1, *polynomials.shape[1:]), dtype=np.uint64)
        one[:, :, 0] = 1
        for first in range(0, len(polynomials), _MAX_POLYNOMIALS):
            batch = polynomials[first : first + _MAX_POLYNOMIALS]
            native = self._loaded(batch, one)
            self._evaluator.transform_to_ntt_inplace(native)
            self._evaluator.multiply_plain_inplace(native, factor.native)
            self._evaluator.transform_from_ntt_inplace(native)
            products[first : first + len(batch)] = self._residues(native, len(batch) + 1)[:-1]
        return products

    def encryption_of_zero(self, encryptor: Any) -> NDArray[np.uint64]:
        """Two polynomials, shape (2, rows, N)."""
        native = self._ciphertext(self.context)
        encryptor.encrypt_zero(native)
        if native.is_transparent():
            raise UsageError("A public key whose second polynomial is all but zero hides nothing.")
        self._evaluator.transform_from_ntt_inplace(native)
        return self._residues(native, 2)

    def _check(self, polynomials: NDArray[np.uint64]) -> None:
        shape = (len(self._primes), self._degree)
        if polynomials.ndim != 3 or polynomials.shape[1:] != shape or polynomials.dtype != np.uint64:
            raise UsageError(
                f"Polynomials of this ring are uint64 of shape (k, {shape[0]}, {shape[1]}), not"
                f" {polynomials.dtype} of shape {polynomials.shape}."
            )
        if (polynomials.max(axis=2, initial=0) >= np.array(self._primes, dtype=np.uint64)).any():
            raise UsageError("A residue of a polynomial is not below its prime.")

    def _loaded(self, *polynomials: NDArray[np.uint64]) -> Any:
        """Coefficients, each argument of shape (k, rows, N), as one native ciphertext of all of them."""
        count = sum(map(len, polynomials))
        head = self._heads.get(count)
        if head is None:
            empty = self._ciphertext(self.context)
            empty.resize(self.context, count)
            size = count * len(self._primes) * self._degree * 8
            _, head = split(saved(empty, size), size)
            self._heads[count] = head
        native = self._ciphertext()
        load(native, self.context, self._start, head, *polynomials)
        return native

    def _residues(self, native: Any, count: int) -> NDArray[np.uint64]:
        shape = (count, len(self._primes), self._degree)
        size = 8 * count * len(self._primes) * self._degree
        body = saved(native, size)[1]
        return np.frombuffer(body, dtype="<u8", offset=len(body) - size).reshape(shape)
