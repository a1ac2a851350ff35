"""One holder of a key, without IO: it helps to make the key, and answers for the sums that it lets be opened.

A holder is a client of the committee, or the authority.  Whatever the server says, it answers for one sum of
one round, of at least m clients that signed for it, and for no more sums of a key than were agreed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from msgspec.structs import replace

from fedpriv.ckks.holder_opening import HolderOpening
from fedpriv.ckks.key_generation import KeyGeneration
from fedpriv.ckks.memory import HolderMemory, memory_seal
from fedpriv.ckks.messages import (
    AdvertiseRequest,
    CommitRequest,
    ConfirmRequest,
    DealRequest,
    Message,
    OpenRequest,
    Request,
    UploadRequest,
    encode,
)
from fedpriv.ckks.params import CkksParams
from fedpriv.ckks.ring import Ring
from fedpriv.ckks.states import HolderState, holder_after
from fedpriv.ckks.transcript import Run, check_identity, check_round
from fedpriv.crypto.signing import SigningKey
from fedpriv.errors import ProtocolViolation, UsageError

__all__ = ["Holder"]


class Holder:
    """One holder's side of all rounds of a run; the authority is the holder with number 0.

    Use: `open_round`, and then answer what the server asks with `handle`; round after round.
    A process that is new for each message calls `save` after each of them, and `restore` in the next one.

    Args:
        params: what all agreed on, as this holder decided it; no message changes it.
        run_id: 16 bytes that name the run.
        holder_id: its number, one of ``params.holders``.
        key: the Ed25519 identity that the roster lists for it.
        roster: party -> Ed25519 public key (32 bytes), obtained from somewhere other than the server.
        rand: ``rand(n)`` gives n fresh uniform bytes, ``os.urandom`` outside of tests.
        ring: arithmetic to share with other parties of the process; one of its own if it is not given.

    Raises:
        UsageError: a roster that does not fit, or an identity that is not the roster's.
    """

    def __init__(  # noqa: PLR0917 - who, in what, with which secrets: all are needed and none has a default
        self,
        params: CkksParams,
        run_id: bytes,
        holder_id: int,
        key: SigningKey,
        roster: Mapping[int, bytes],
        rand: Callable[[int], bytes],
        *,
        ring: Ring | None = None,
    ) -> None:
        self._run = Run.of(params, run_id, roster)
        if holder_id not in params.holders:
            raise UsageError(f"Party {holder_id} is not one of the holders {params.holders}.")
        check_identity(self._run, holder_id, key)
        self._params, self._id, self._ring, self._rand = params, holder_id, ring, rand
        self._generation = KeyGeneration(self._run, holder_id, key, self._arithmetic, rand)
        self._opening = HolderOpening(self._run, holder_id, self._arithmetic)
        self._seal = memory_seal(self._run, "holder", holder_id, key)
        self._memory = HolderMemory()

    def __repr__(self) -> str:
        return f"<ckks Holder {self._id}, round {self._memory.round}, {self.state}>"

    @property
    def state(self) -> HolderState:
        """How far this holder is with its key."""
        return self._memory.state

    @property
    def sequence(self) -> int:
        """A number that grows with every step; who keeps saved states keeps the last one apart (CK-18)."""
        return self._memory.sequence

    @property
    def memory(self) -> HolderMemory:
        """All that this holder remembers, for the client that saves it with its own."""
        return self._memory

    def open_round(self, round_: int, context: bytes) -> None:
        """Begin a round; what was left of the one before can no longer be opened.

        Args:
            round_: its number, higher than that of every round before (CK-13).
            context: 32 bytes, the digest of the model and the configuration.

        Raises:
            UsageError: a number that is not higher, or one of the two is out of range.
        """
        check_round(round_, context, self._memory.round)
        self._memory = self._memory.next_round(round_, context)

    def handle(self, request: bytes) -> Iterator[bytes]:
        """Answer one request of the server.

        The holder has taken its step when this returns; save it before anything is sent.

        Args:
            request: the bytes of one message.

        Returns:
            The messages of the answer, in order: one.

        Raises:
            DecodeError: the bytes are no message.
            ProtocolViolation: the message breaks a clause; it is not answered.
            In each case nothing has changed, and the right message is still answered; but after CK-4 the
            key is forgotten, for how often it fails says something of the key.  That is a step, to be saved.
        """
        return self.answer(self._run.request(request))

    def answer(self, message: Request) -> Iterator[bytes]:
        """Answer a message that was decoded, and is of this session."""
        memory = self._memory
        state = holder_after(memory.state, message, sole=len(self._params.holders) == 1)
        try:
            after, reply = self._step(memory, message)
        except ProtocolViolation as violation:
            # Whether a decryption fails says a little about the key, so it is not asked a second time.
            if violation.clause == "CK-4":
                self.remember(memory.without_key())
            raise
        self.remember(replace(after, state=state, sequence=memory.sequence + 1))
        return iter((encode(reply),))

    def save(self) -> bytes:
        """All that this holder remembers, encrypted under a key that only its identity gives.

        Keep `sequence` beside it, in a place that is not set back when the state is.
        """
        return self._seal.seal(self._memory, self._rand)

    def restore(self, data: bytes, *, least_sequence: int) -> None:
        """Go on from what `save` gave.

        Args:
            data: the saved state.
            least_sequence: the last `sequence` that is known to have been reached.

        Raises:
            IntegrityError: not this holder's state in this run, or one that is older (CK-18).
        """
        self.remember(self._seal.open(data, HolderMemory, least_sequence))

    def remember(self, memory: HolderMemory) -> None:
        """Go on from this memory, and let go of what belongs to any other key than its own."""
        self._memory = memory
        self._opening.forget_all_but(memory.key)

    def _step(self, memory: HolderMemory, message: Request) -> tuple[HolderMemory, Message]:
        making, steps = memory.making, self._generation
        reply: Message
        if isinstance(message, OpenRequest):
            return self._opening.open(memory, message)
        if isinstance(message, AdvertiseRequest):
            making, reply = steps.advertise(message, memory.number)
            # The old key is forgotten as soon as another is begun (CK-10).
            return replace(memory, number=message.number, making=making, key=None, opening=None), reply
        if isinstance(message, ConfirmRequest):
            return self._confirm(memory, message)
        if making is None or isinstance(message, UploadRequest):
            raise UsageError("The table of states lets no such request come to this.")
        if isinstance(message, DealRequest):
            making, reply = steps.deal(making, message)
        elif isinstance(message, CommitRequest):
            making, reply = steps.commit(making, message, memory.number)
        else:
            making, reply = steps.reveal(making, message)
        return replace(memory, number=message.number, making=making), reply

    def _confirm(self, memory: HolderMemory, message: ConfirmRequest) -> tuple[HolderMemory, Message]:
        if memory.making is None:
            key, reply = self._generation.alone(message, memory.number)
        else:
            key, reply = self._generation.confirm(memory.making, message)
        return replace(memory, number=message.number, making=None, key=key, opening=None), reply

    def _arithmetic(self) -> Ring:
        if self._ring is None:
            self._ring = Ring(self._params.ring)
        return self._ring
