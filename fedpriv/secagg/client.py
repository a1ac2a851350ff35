"""One client of a run, without IO: a request in, an answer out, or a typed error and nothing changed.

Bonawitz et al., Practical Secure Aggregation for Privacy-Preserving Machine Learning, CCS 2017, section 4,
with the signed keys and the consistency check of its figure 4; protocols/secagg/spec.md is what is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from numpy.typing import NDArray

from fedpriv.crypto.agreement import AgreementKey
from fedpriv.crypto.prg import add_masks
from fedpriv.crypto.signing import SigningKey
from fedpriv.crypto.state_seal import StateSeal
from fedpriv.errors import ProtocolViolation, UsageError
from fedpriv.secagg.client_checks import ClientChecks
from fedpriv.secagg.client_memory import Ahead, Earlier, Memory, memory_seal
from fedpriv.secagg.cohort import (
    CONSISTENCY_DOMAIN,
    SHARERS_DOMAIN,
    Cohort,
    consistency_statement,
    pair_mask_keys,
    self_mask_keys,
    sharers_statement,
)
from fedpriv.secagg.dealing import Held, deal, draw_secrets, seal_shares
from fedpriv.secagg.floors import NO_FLOORS, Floors
from fedpriv.secagg.keys import NO_PREVIOUS, Group, Roster, Secrets, make_bundle
from fedpriv.secagg.levels import LEVEL_BYTES, level_chain
from fedpriv.secagg.masking import AddMasks, Inputs, masked_parts, take_inputs
from fedpriv.secagg.messages import (
    AdvertiseReply,
    AdvertiseRequest,
    Bundle,
    ConsistencyReply,
    ConsistencyRequest,
    Kind,
    Message,
    Request,
    ShareReply,
    ShareRequest,
    UnmaskReply,
    UnmaskRequest,
    UploadHeader,
    UploadPart,
    UploadRequest,
    decode_request,
    encode,
)
from fedpriv.secagg.params import SecAggParams
from fedpriv.secagg.states import ClientState, after_request

__all__ = ["Client"]

_BEFORE_UPLOAD = (ClientState.NEW, ClientState.PREPARED, ClientState.ADVERTISED, ClientState.SHARED)


class Client:
    """One client's side of all rounds of a run.

    Use: `open_round`, `set_vectors`, and then answer what the server asks with `handle`; round after round.
    A process that is new for each message calls `save` after each of them, and `restore` in the next one.

    Args:
        params: sizes and thresholds, as this client decided them; no message can change them (SA-9).
        run_id: 16 bytes that name the run, as all its parties agreed beforehand.
        client_id: 1..n.
        signing_key: the Ed25519 identity that the roster lists for this client.
        roster: client -> Ed25519 public key (32 bytes), obtained from somewhere other than the server.
        rand: ``rand(n)`` gives n fresh uniform bytes, ``os.urandom`` outside of tests.
        floors: what this client's owner insists on, whoever made ``params``.
        masks: what expands masks: `fedpriv.crypto.add_masks`, or the ``add_masks`` of `MaskWorkers`.
        draw_level: in a session with levels, ``draw_level(round)`` gives 32 fresh uniform bytes, the secret
            of the highest level; it is asked once for each round, and ``rand`` where it is not given.

    Raises:
        UsageError: a roster that does not fit, or an identity that is not the roster's.
        UnsafeParameters: parameters below the floors.
    """

    def __init__(  # noqa: PLR0917 - who, in what, with which secrets: all are needed and none has a default
        self,
        params: SecAggParams,
        run_id: bytes,
        client_id: int,
        signing_key: SigningKey,
        roster: Mapping[int, bytes],
        rand: Callable[[int], bytes],
        *,
        floors: Floors = NO_FLOORS,
        masks: AddMasks = add_masks,
        draw_level: Callable[[int], bytes] | None = None,
    ) -> None:
        floors.check(params)
        self._params = params
        self._roster = Roster.of(roster, params.clients)
        if self._roster.get(client_id) != signing_key.public:
            raise UsageError(f"The roster does not list this identity as client {client_id}.")
        self._id = client_id
        self._signing_key = signing_key
        self._group = Group.of(params, run_id, self._roster)
        self._checks = ClientChecks(params, self._roster, self._group, client_id)
        self._rand = rand
        self._add_masks = masks
        self._draw_level_of = draw_level
        self._inputs: dict[str, NDArray[Any]] | None = None
        self._memory = Memory()

    def __repr__(self) -> str:
        return f"<secagg Client {self._id}, round {self._memory.round}, {self.state}>"

    @property
    def state(self) -> ClientState:
        """What this client has answered so far in this round."""
        return self._memory.state

    @property
    def sequence(self) -> int:
        """A number that grows with every step; whoever keeps saved states keeps the last one apart (SA-6)."""
        return self._memory.sequence

    def open_round(self, round_: int, context: bytes) -> None:
        """Begin a round; what was left of the one before is forgotten, except keys that were made ahead.

        Args:
            round_: its number, higher than that of every round before.
            context: 32 bytes, the digest of the model and the configuration that the vectors come from.

        Raises:
            UsageError: SA-6, the number is not higher; or one of the two is out of range.
        """
        session = self._group.session(round_, context)
        if round_ <= self._memory.round:
            raise UsageError(
                f"Round {round_} does not come after round {self._memory.round}, which was begun.",
                hint="Give each round a higher number than all before; a lost one is not repeated. [SA-6]",
            )
        memory = self._memory.next_round(round_, session)
        if not memory.level:  # keys that were made ahead have one
            memory = msgspec.structs.replace(memory, level=self._draw_level(round_))
        self._memory, self._inputs = memory, None

    def level_secrets(self) -> tuple[bytes, ...]:
        """This client's level secrets of the round that is open, s_1, …, s_L; 32 bytes each.

        With u survivors the server learns that of the highest level that u reaches, and so those below it;
        it learns none above.  They are there from `open_round` until the upload is asked for, and are part of
        what `save` gives.

        Raises:
            UsageError: no round is open whose upload is still to come.
        """
        self._check_before_upload("Level secrets are gone")
        memory, levels = self._memory, len(self._params.levels)
        return level_chain(memory.round, self._id, memory.level, levels)[1:]

    def set_vectors(self, vectors: Inputs | NDArray[Any], *, copy: bool = True) -> None:
        """Give what is to be summed in this round; any time before the upload is asked for.

        Args:
            vectors: by name, arrays of shape (dimension,) and unsigned dtype, each value below ``2**bits``;
                an array alone is the vector 'update'.
            copy: keep copies, in words of 2, 4 or 8 bytes.  Without it the arrays themselves are kept, and
                must not change until the upload has been read to its end.

        Raises:
            UsageError: another name, shape or dtype, a value that does not fit (SA-8), or no round is open
                whose upload is still to come.
        """
        self._check_before_upload("No vectors are awaited")
        self._inputs = take_inputs(self._params, vectors, copy=copy)

    def handle(self, request: bytes) -> Iterator[bytes]:
        """Answer one request of the server.

        The client has taken its step when this returns; save it before anything is sent.  The answer is one
        message, or for the upload several, which are made as they are read.

        Args:
            request: the bytes of one message.

        Returns:
            The messages of the answer, in order.

        Raises:
            DecodeError: the bytes are no message.
            ProtocolViolation: the message breaks a clause; it is not answered.
            UsageError: the upload was asked for before `set_vectors`.
            In each case nothing has changed, and the right message is still answered.
        """
        message = decode_request(request, self._params)
        if message.session != self._memory.session:
            raise ProtocolViolation(
                "The server's message belongs to another session.",
                clause="SA-4",
                hint="Server and client differ in run, round, parameters, roster, model or configuration.",
            )
        following = after_request(self.state, message, malicious=self._params.malicious)
        memory, answer = self._answer(message)
        self._memory = msgspec.structs.replace(memory, state=following, sequence=self.sequence + 1)
        if following is ClientState.UPLOADED:
            self._inputs = None
        return answer

    def save(self) -> bytes:
        """All that this client remembers, encrypted under a key that only its identity gives.

        Vectors that were set and not yet uploaded are not part of it.  Keep `sequence` beside it, in a place
        that is not set back when the state is.
        """
        return self._seal().seal(self._memory, self._entropy)

    def restore(self, data: bytes, *, least_sequence: int) -> None:
        """Go on from what `save` gave.

        Args:
            data: the saved state.
            least_sequence: the last `sequence` that is known to have been reached.

        Raises:
            IntegrityError: not this client's state in this run, or one that is older (SA-6).
        """
        self._memory = self._seal().open(data, Memory, least_sequence)
        self._inputs = None

    def _answer(self, message: Request) -> tuple[Memory, Iterator[bytes]]:
        if isinstance(message, AdvertiseRequest):
            return _once(*self._advertise())
        if isinstance(message, ShareRequest):
            return _once(*self._share(message))
        if isinstance(message, UploadRequest):
            return self._upload(message)
        if isinstance(message, ConsistencyRequest):
            return _once(*self._sign(message))
        return _once(*self._unmask(message))

    def _advertise(self) -> tuple[Memory, Message]:
        memory = self._memory
        secrets = draw_secrets(memory.round, self._entropy, memory.level)
        bundle = self._bundle(secrets, NO_PREVIOUS)
        reply = AdvertiseReply(session=memory.session, sender=self._id, bundle=bundle)
        return msgspec.structs.replace(memory, secrets=secrets, bundle=bundle, held={}), reply

    def _share(self, message: ShareRequest) -> tuple[Memory, Message]:
        memory, secrets = self._memory, self._secrets()
        cohort = self._checks.cohort(message.view, memory)
        held, sealed = self._deal(secrets, cohort.bundles[self._id], cohort)
        reply = ShareReply(session=memory.session, sender=self._id, shares=sealed)
        return msgspec.structs.replace(memory, cohort=cohort, held=held), reply

    def _upload(self, message: UploadRequest) -> tuple[Memory, Iterator[bytes]]:
        memory, secrets = self._memory, self._secrets()
        if (message.view is None) != (memory.cohort is not None):
            raise ProtocolViolation("A cohort is shown twice, or not at all.", clause="SA-17")
        cohort = memory.cohort if message.view is None else self._checks.cohort(message.view, memory)
        assert cohort is not None  # noqa: S101 - the check above says so, in words that mypy does not follow
        partners = self._checks.partners(cohort, message.sharers)
        held = {**memory.held, **self._checks.open_shares(memory, cohort, partners, message)}
        if message.prepare and not self._params.complete:
            raise ProtocolViolation("On a sparse graph no round is prepared ahead.", clause="SA-15")
        if self._inputs is None:
            raise UsageError("The upload is asked for, and no vectors have been set.")

        names = [vector.name for vector in self._params.vectors]
        mask_key = AgreementKey.from_seed(secrets.mask)
        keys = [(self_mask_keys(cohort.hash, secrets.seed, self._id, names), False)]
        keys += [
            (pair_mask_keys(cohort.hash, mask_key, self._id, cohort.bundles[peer], names), self._id > peer)
            for peer in partners
        ]
        masks = {name: [(of[i], minus) for of, minus in keys] for i, name in enumerate(names)}

        signature = None
        if self._params.malicious and not self._params.complete:
            statement = sharers_statement(memory.session, cohort.hash, message.sharers)
            signature = self._signing_key.sign(SHARERS_DOMAIN, statement)
        header = UploadHeader(
            session=memory.session, sender=self._id, bundle=None, shares=(), signature=signature
        )
        earlier, ahead = Earlier(memory.round, cohort.hash), None
        if message.prepare:
            earlier = msgspec.structs.replace(earlier, cipher=secrets.cipher)
            ahead, sealed = self._prepare(cohort)
            header = msgspec.structs.replace(header, bundle=ahead.bundle, shares=sealed)
        # What comes after needs the shares only: the keys that could unmask these vectors go now (SA-13).
        after = msgspec.structs.replace(
            memory,
            level=b"",
            secrets=None,
            bundle=None,
            cohort=None,
            cohort_hash=cohort.hash,
            holders=cohort.holders(self._id, complete=self._params.complete),
            held=held,
            sharers=message.sharers,
            earlier=earlier,
            ahead=ahead,
        )
        parts = masked_parts(self._params, self._inputs, masks, self._add_masks)
        return after, self._upload_messages(header, parts)

    def _upload_messages(self, header: UploadHeader, parts: Iterator[bytes]) -> Iterator[bytes]:
        yield encode(header)
        for index, data in enumerate(parts):
            yield encode(UploadPart(session=header.session, sender=self._id, part=index, data=data))

    def _sign(self, message: ConsistencyRequest) -> tuple[Memory, Message]:
        memory = self._memory
        self._checks.survivors(memory, message.survivors)
        self._checks.uploads(memory, message)
        statement = consistency_statement(
            memory.session, memory.cohort_hash, memory.sharers, message.survivors
        )
        signature = self._signing_key.sign(CONSISTENCY_DOMAIN, statement)
        reply = ConsistencyReply(session=memory.session, sender=self._id, signature=signature)
        return msgspec.structs.replace(memory, survivors=message.survivors), reply

    def _unmask(self, message: UnmaskRequest) -> tuple[Memory, Message]:
        memory = self._memory
        survivors = self._checks.lists(memory, message)
        # The level follows from the list that was checked; no message can ask for one (SA-18).
        level = self._params.level_of(len(survivors))
        shares: list[tuple[int, Kind, bytes]] = []
        for owner, held in sorted(memory.held.items()):
            if owner in survivors:
                shares.append((owner, "seed", held.seed + (held.levels[level - 1] if level else b"")))
            else:
                shares.append((owner, "key", held.key))
        reply = UnmaskReply(session=memory.session, sender=self._id, shares=tuple(shares))
        return memory.without_this_round(), reply

    def _deal(
        self, secrets: Secrets, bundle: Bundle, cohort: Cohort
    ) -> tuple[dict[int, Held], tuple[tuple[int, bytes], ...]]:
        """Share secrets among the holders: what this client holds of them itself, and the others' sealed."""
        holders = cohort.holders(self._id, complete=self._params.complete)
        levels = len(self._params.levels)
        chain = level_chain(secrets.round, self._id, secrets.level, levels)[1:]
        shares = deal(secrets, holders, self._params.threshold, self._entropy, chain)
        own = {self._id: shares.pop(self._id)} if self._id in shares else {}
        receivers = {peer: cohort.bundles[peer].cipher_key for peer in shares}
        return own, seal_shares(self._group, secrets, bundle, shares, receivers, self._entropy)

    def _prepare(self, cohort: Cohort) -> tuple[Ahead, tuple[tuple[int, bytes], ...]]:
        """Keys and shares for the next round, bound to this round's cohort (spec, section 5)."""
        following = self._memory.round + 1
        secrets = draw_secrets(following, self._entropy, self._draw_level(following))
        bundle = self._bundle(secrets, cohort.hash)
        held, sealed = self._deal(secrets, bundle, cohort)
        return Ahead(secrets=secrets, bundle=bundle, held=held), sealed

    def _bundle(self, secrets: Secrets, previous: bytes) -> Bundle:
        levels = len(self._params.levels)
        return make_bundle(self._group, self._id, secrets, previous, self._signing_key, levels)

    def _draw_level(self, round_: int) -> bytes:
        """The secret of the highest level for a round; nothing in a session without levels."""
        if not self._params.levels:
            return b""
        level = self._entropy(LEVEL_BYTES) if self._draw_level_of is None else self._draw_level_of(round_)
        if not isinstance(level, bytes) or len(level) != LEVEL_BYTES:
            raise UsageError(f"A level secret is {LEVEL_BYTES} fresh bytes.")
        return level

    def _check_before_upload(self, what: str) -> None:
        if self.state not in _BEFORE_UPLOAD:
            raise UsageError(f"{what}: in round {self._memory.round} this client is '{self.state}'.")

    def _seal(self) -> StateSeal:
        return memory_seal(self._group, self._id, self._signing_key)

    def _entropy(self, count: int) -> bytes:
        data = self._rand(count)
        if not isinstance(data, bytes) or len(data) != count:
            raise UsageError(f"The source of randomness did not give {count} bytes.")
        return data

    def _secrets(self) -> Secrets:
        if self._memory.secrets is None:
            raise UsageError("The keys of this round are gone.")
        return self._memory.secrets


def _once(memory: Memory, reply: Message) -> tuple[Memory, Iterator[bytes]]:
    return memory, iter((encode(reply),))
