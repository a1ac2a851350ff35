"""All that a server with some clients in league saw in some rounds, what they can derive from it, and open.

Written with full knowledge of every party, of which a `Coalition` uses its own members' and what was sent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from parties.secagg import Parties

from fedpriv.crypto import add_masks
from fedpriv.crypto.aead import open_sealed
from fedpriv.crypto.agreement import AgreementKey
from fedpriv.crypto.field import ELEMENT_BYTES, decode_element
from fedpriv.crypto.prg import word_dtype
from fedpriv.crypto.shamir import combine
from fedpriv.encoding.packing import unpack
from fedpriv.errors import DecodeError, TooFewParties
from fedpriv.secagg import SecAggParams
from fedpriv.secagg.cohort import Register, pair_mask_keys, self_mask_keys
from fedpriv.secagg.dealing import Held, _context, _key
from fedpriv.secagg.keys import Secrets, bundle_leaf, seed_commitment
from fedpriv.secagg.levels import opens_level
from fedpriv.secagg.members import Members
from fedpriv.secagg.messages import (
    Bundle,
    ShareReply,
    UnmaskReply,
    UnmaskRequest,
    UploadHeader,
    UploadPart,
    UploadRequest,
)

LARGE_PRIME = 2**61 - 1

own_key = lru_cache(maxsize=2**14)(AgreementKey.from_seed)


@lru_cache(maxsize=2**14)
def _agree(seed: bytes, public: bytes) -> bytes:
    return own_key(seed).agree(public)


@lru_cache(maxsize=2**14)
def _pair_mask(
    cohort: bytes, seed: bytes, one: int, other: Bundle, names: tuple[str, ...]
) -> dict[str, bytes]:
    return dict(zip(names, pair_mask_keys(cohort, own_key(seed), one, other, names), strict=True))


Row = tuple[int, int]
"""A round and a client: one upload."""


@dataclass
class Box:
    """Sealed shares on their way."""

    round: int
    source: Bundle
    destination: int
    destination_key: bytes
    sealed: bytes


@dataclass
class RoundSeen:
    """One round: what passed through the server, and, for the reckoning only, what was in it."""

    register: Register
    vectors: dict[int, dict[str, NDArray[np.uint64]]]
    # The cohort (U1) and the sharers (U2) that each client was shown; a server that deviates shows several.
    cohorts: dict[int, Register] = field(default_factory=dict)
    shown: dict[int, Members] = field(default_factory=dict)
    uploads: dict[int, list[bytes]] = field(default_factory=dict)
    revealed: dict[tuple[int, str], dict[int, int]] = field(default_factory=dict)
    survivors: tuple[int, ...] = ()


@dataclass
class Transcript:
    """Everything of some rounds of one run."""

    parties: Parties
    rounds: dict[int, RoundSeen] = field(default_factory=dict)
    boxes: list[Box] = field(default_factory=list)
    secrets: dict[int, list[Secrets]] = field(default_factory=dict)
    held: dict[Row, dict[int, Held]] = field(default_factory=dict)

    @property
    def params(self) -> SecAggParams:
        """Those of the run."""
        return self.parties.params

    def answer(self, client: int, request: bytes) -> list[bytes]:
        """What a client sends, with a note of all that it knows before and after."""
        parties = self.parties
        self.note(client)
        replies = parties.answer(client, request)
        self.note(client)
        asked = parties.read_request(request)
        if isinstance(asked, UploadRequest):
            self.rounds[parties.round].shown[client] = Members.parse(asked.sharers, self.params.clients)
        level = 0
        if isinstance(asked, UnmaskRequest):
            level = self.params.level_of(len(Members.parse(asked.survivors, self.params.clients)))
        for reply in replies:
            self._see(client, reply, level)
        return replies

    def note(self, client: int) -> None:
        """All that a client knows now."""
        memory = self.parties.clients[client]._memory
        if memory.secrets is not None:
            self.secrets.setdefault(client, []).append(memory.secrets)
        if memory.ahead is not None:
            self.secrets.setdefault(client, []).append(memory.ahead.secrets)
        self.held.setdefault((memory.round, client), {}).update(memory.held)

    def _see(self, client: int, reply: bytes, level: int) -> None:
        parties, message = self.parties, self.parties.read_reply(reply)
        if isinstance(message, ShareReply):
            self._box(parties.round, parties.server._round.register.bundles[client], message.shares)
        seen = self.rounds.get(parties.round)
        if isinstance(message, UploadHeader) and message.bundle is not None:
            self._box(parties.round + 1, message.bundle, message.shares)
        if isinstance(message, UploadPart) and seen:
            seen.uploads.setdefault(client, []).append(message.data)
        if isinstance(message, UnmaskReply) and seen:
            for owner, kind, share in message.shares:
                revealed = share[:ELEMENT_BYTES], share[ELEMENT_BYTES:]
                seen.revealed.setdefault((owner, kind), {})[client] = decode_element(revealed[0])
                assert bool(revealed[1]) == (level > 0 and kind == "seed")
                if revealed[1]:
                    name = f"level {level}"
                    seen.revealed.setdefault((owner, name), {})[client] = decode_element(revealed[1])

    def _box(self, round_: int, source: Bundle, shares: Iterable[tuple[int, bytes]]) -> None:
        bundles = self.parties.server._round.register.bundles
        for destination, sealed in shares:
            self.boxes.append(Box(round_, source, destination, bundles[destination].cipher_key, sealed))

    def run_round(self, fates: Mapping[int, str]) -> bool:
        """Run the round that is open to its end; whether there is a sum.

        Args:
            fates: of clients that do not stay: 'silent' shares and is gone, 'late' uploads when the stage is
                closed, 'unsigned' uploads and is gone, 'mute' signs the list of survivors and is gone.
        """
        parties = self.parties
        gone = {
            "upload": ("silent",),
            "consistency": ("silent", "late", "unsigned"),
            "unmask": ("silent", "late", "unsigned", "mute"),
        }
        try:
            while not parties.server.finished:
                stage = parties.server.stage
                if stage == "upload":
                    self.rounds[parties.round] = RoundSeen(parties.server._round.register, parties.vectors)
                for client, request in parties.requests().items():
                    if fates.get(client) in gone.get(stage, ()):
                        continue
                    replies = self.answer(client, request)
                    if not (stage == "upload" and fates.get(client) == "late"):
                        parties.deliver(client, replies)
                parties.server.advance()
        except TooFewParties:
            return False
        result = parties.server.result()
        parties.assert_exact(result)
        self.rounds[parties.round].survivors = result.survivors
        return True


class Coalition:
    """The server and some clients: every key that they can derive, and every sum that they can open.

    Args:
        transcript: of all rounds.
        members: the clients in league with the server.
        extra: (round, owner, kind, holder) of shares that they have besides, which the protocol never gives.
    """

    def __init__(
        self,
        transcript: Transcript,
        members: Collection[int],
        extra: Iterable[tuple[int, int, str, int]] = (),
    ) -> None:
        self._seen, self.members = transcript, set(members)
        self._group = transcript.parties.server._group
        self.known = {
            seed
            for client in members
            for secrets in transcript.secrets.get(client, ())
            for seed in (secrets.cipher, secrets.mask, secrets.seed)
        }
        # The shares of each secret, by (round, owner, kind), by holder.
        self._shares: dict[tuple[int, int, str], dict[int, int]] = {}
        for number, seen in transcript.rounds.items():
            for (owner, kind), shares in seen.revealed.items():
                self._shares.setdefault((number, owner, kind), {}).update(shares)
        for (number, holder), held in transcript.held.items():
            if holder in self.members:
                for owner, both in held.items():
                    self._learn(number, owner, holder, both)
        for number, owner, kind, holder in extra:
            both = transcript.held[number, holder][owner]
            share = decode_element(both.seed if kind == "seed" else both.key)
            self._shares.setdefault((number, owner, kind), {})[holder] = share
        self._close()

    def _learn(self, round_: int, owner: int, holder: int, both: Held) -> None:
        self._shares.setdefault((round_, owner, "seed"), {})[holder] = decode_element(both.seed)
        self._shares.setdefault((round_, owner, "key"), {})[holder] = decode_element(both.key)
        for level, share in enumerate(both.levels, start=1):
            self._shares.setdefault((round_, owner, f"level {level}"), {})[holder] = decode_element(share)

    def _close(self) -> None:
        """Open every box and every sharing that can be, until nothing more comes out.

        Each seed is tried as every kind of key of every client in every round, so that a seed that served
        twice, or a key that follows from another, would be found out.
        """
        unopened, size = list(self._seen.boxes), -1
        while size != len(self.known) + len(self._shares):
            size = len(self.known) + len(self._shares)
            self.publics = {own_key(seed).public: seed for seed in self.known}
            unopened = [box for box in unopened if not self._open(box)]
            for (number, owner, _), shares in self._shares.items():
                # With one share less than the threshold too: that gives nothing, unless the sharing is wrong.
                threshold = self._seen.params.threshold
                if len(shares) >= threshold - 1:
                    value = combine(dict(sorted(shares.items())[:threshold]))
                    assert value < 2**256 or len(shares) < threshold, (
                        f"no secret of client {owner} in {number}"
                    )
                    self.known.add((value % 2**256).to_bytes(32, "big"))
        self.publics = {own_key(seed).public: seed for seed in self.known}

    def _open(self, box: Box) -> bool:
        for ours, theirs in (
            (box.source.cipher_key, box.destination_key),
            (box.destination_key, box.source.cipher_key),
        ):
            if ours in self.publics:
                secret = _agree(self.publics[ours], theirs)
                key = _key(self._group, secret, box.round, box.source.client, box.destination)
                leaf = bundle_leaf(self._group, box.round, box.source)
                context = _context(
                    self._group, box.round, box.source.client, box.destination, leaf, box.destination_key
                )
                try:
                    plain = open_sealed(key, box.sealed, context)
                except DecodeError:
                    continue
                starts = range(0, len(plain), ELEMENT_BYTES)
                seed, key, *levels = (plain[start : start + ELEMENT_BYTES] for start in starts)
                both = Held(seed, key, tuple(levels))
                self._learn(box.round, box.source.client, box.destination, both)
                return True
        return False

    def self_seed(self, round_: int, client: int) -> bytes | None:
        """The client's b, if they know it."""
        committed = self._seen.rounds[round_].register.bundles[client].seed_commitment
        for seed in self.known:
            if seed_commitment(self._group, round_, client, seed) == committed:
                return seed
        return None

    def level(self, round_: int, client: int) -> int:
        """The highest level of which they know the client's secret; 0 is none."""
        committed = self._seen.rounds[round_].register.bundles[client].level_commitment
        for level in range(len(self._seen.params.levels), 0, -1):
            if any(opens_level(round_, client, level, seed, committed or b"") for seed in self.known):
                return level
        return 0

    def pair_key(self, round_: int, one: int, other: int) -> tuple[int, bytes] | None:
        """One of a pair and the seed of its s, if they know either's."""
        bundles = self._seen.rounds[round_].register.bundles
        for client in (one, other):
            if bundles[client].mask_key in self.publics:
                return client, self.publics[bundles[client].mask_key]
        return None

    def rows(self) -> list[Row]:
        """The uploads of clients that are not in league."""
        return [
            (number, client)
            for number, seen in self._seen.rounds.items()
            for client in sorted(seen.uploads)
            if client not in self.members
        ]

    def _masks(self, row: Row) -> list[tuple[tuple[Any, ...], int, tuple[int, bytes] | None]]:
        """The masks on an upload: each with its name, its sign, and the seed behind it if that is known."""
        number, client = row
        seen = self._seen.rounds[number]
        seed = self.self_seed(number, client)
        masks: list[Any] = [(("self", number, client), 1, None if seed is None else (client, seed))]
        cohort = seen.cohorts.get(client, seen.register)
        for peer in cohort.neighbours(client):
            if peer in seen.shown[client]:
                name = ("pair", number, cohort.hash, min(client, peer), max(client, peer))
                masks.append((name, 1 if client < peer else -1, self.pair_key(number, client, peer)))
        return masks

    def determined(self) -> list[dict[Row, int]]:
        """A basis of the combinations of honest vectors that all of this determines.

        An upload is its vector plus masks, of which the known ones can be taken off.  The unknown ones are
        independent and uniform to whoever has not their keys, so a combination of uploads says something only
        if all of them cancel in it, and then it says that combination of the vectors.  Those that cancel are
        the kernel of the matrix of signs.  Its dimension is the same modulo a large prime and modulo 2: so
        the matrix has no even elementary divisors, and the kernel modulo 2^b is this one too.
        """
        rows = self.rows()
        masks = [{name: sign for name, sign, known in self._masks(row) if known is None} for row in rows]
        names = sorted({name for of in masks for name in of})
        matrix = [[of.get(name, 0) for name in names] for of in masks]
        kernel = left_kernel(matrix, LARGE_PRIME)
        assert len(kernel) == len(left_kernel(matrix, 2))
        return [{row: value for row, value in zip(rows, basis, strict=True) if value} for basis in kernel]

    def value(self, combination: Mapping[Row, int], name: str = "update") -> list[int]:
        """What a determined combination of vectors is, from the uploads and the known masks alone."""
        vectors = self._seen.params.vectors
        names = tuple(vector.name for vector in vectors)
        place = names.index(name)
        vector = vectors[place]
        assert len(vector.parts) == 1
        total = np.zeros(vector.dimension, word_dtype(vector.bits))
        for row, factor in combination.items():
            number, client = row
            seen = self._seen.rounds[number]
            cohort = seen.cohorts.get(client, seen.register)
            words = unpack(
                seen.uploads[client][place], vector.bits, vector.dimension, dtype=total.dtype
            ).copy()
            for mask, sign, known in self._masks(row):
                if known is None:
                    continue
                whose, seed = known
                if mask[0] == "self":
                    key = self_mask_keys(cohort.hash, seed, client, [name])[0]
                else:
                    other = seen.register.bundles[next(peer for peer in mask[3:] if peer != whose)]
                    key = _pair_mask(cohort.hash, seed, whose, other, names)[name]
                add_masks(words, [(key, sign > 0)])
            total += words * total.dtype.type(factor % 2**vector.bits)
        return [int(word) % 2**vector.bits for word in total]


def left_kernel(matrix: list[list[int]], prime: int) -> list[list[int]]:
    """A basis of the combinations of rows that vanish modulo a prime, as small integers, in echelon form.

    >>> left_kernel([[1, 0], [-1, 1], [0, -1]], 7)
    [[1, 1, 1]]
    """
    count = len(matrix)
    work = [
        [value % prime for value in row] + [int(i == j) for j in range(count)] for i, row in enumerate(matrix)
    ]
    width, done = len(matrix[0]) if matrix else 0, 0
    for column in range(width + count):
        pivot = next((i for i in range(done, count) if work[i][column]), None)
        if pivot is None:
            continue
        work[done], work[pivot] = work[pivot], work[done]
        inverse = pow(work[done][column], -1, prime)
        work[done] = [value * inverse % prime for value in work[done]]
        for i in range(count):
            if i != done and work[i][column]:
                factor = work[i][column]
                work[i] = [(a - factor * b) % prime for a, b in zip(work[i], work[done], strict=True)]
        done += 1
    kernel = [row[width:] for row in work if not any(row[:width])]
    return [[value - prime if value > prime // 2 else value for value in row] for row in kernel]
