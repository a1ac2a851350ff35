"""The server of a run, without IO: it asks, folds in what comes, and closes one stage after another.

Nothing that a client's safety depends on is decided here: clients and holders check for themselves.  The
server's own checks protect the result, and say which party broke the protocol.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from fedpriv.ckks.messages import (
    OpenReply,
    Reply,
    UploadChunk,
    UploadRequest,
    UploadSeal,
    decode_reply,
    encode,
)
from fedpriv.ckks.params import CkksParams
from fedpriv.ckks.server_key import CommitteeKey, KeyMaking
from fedpriv.ckks.server_opening import Opening
from fedpriv.ckks.server_uploads import Uploads
from fedpriv.ckks.states import SERVER_REPLIES, SERVER_TRANSITIONS, Closing, Stage
from fedpriv.ckks.transcript import Run, check_round
from fedpriv.errors import DecodeError, ProtocolViolation, TooFewParties, UsageError

__all__ = ["CkksSum", "Server"]


def _temporary_file() -> BinaryIO:
    return cast("BinaryIO", tempfile.TemporaryFile())


@dataclass(frozen=True, slots=True, eq=False)
class CkksSum:
    """What a finished round gives the server.

    Attributes:
        values: the survivors' vectors summed: shape (d,), dtype int64, exact.
        survivors: the clients whose vectors are in the sum, ascending.
        answered: for each stage of the round, the parties that answered it, ascending.
    """

    values: NDArray[np.int64]
    survivors: tuple[int, ...]
    answered: Mapping[str, tuple[int, ...]]


class Server:
    """The server's side of all rounds of a run.

    Use: `open_round`; then, until ``finished``, send `request` to each of those in ``asked``, `receive` every
    message of what comes back, and `advance` when no more is awaited.  The stage 'open' may come several
    times in a round.

    Args:
        params, run_id, roster: the same as the clients'; where they differ, nobody answers.
        spool: makes the file in which the uploads of a round are kept.

    Raises:
        UsageError: a roster that does not fit.
    """

    def __init__(
        self,
        params: CkksParams,
        run_id: bytes,
        roster: Mapping[int, bytes],
        *,
        spool: Callable[[], BinaryIO] = _temporary_file,
    ) -> None:
        self._run = Run.of(params, run_id, roster)
        self._params, self._spool = params, spool
        self._sole = len(params.holders) == 1
        self._stage = Stage.IDLE
        self._round, self._context = -1, b""
        self._number = 0
        self._asked: tuple[int, ...] = ()
        self._heard: set[int] = set()
        self._answered: dict[str, tuple[int, ...]] = {}
        self._making: KeyMaking | None = None
        self._key: CommitteeKey | None = None
        self._uploads: Uploads | None = None
        self._opening: Opening | None = None

    def __repr__(self) -> str:
        heard = f"{len(self._heard)} of {len(self._asked)}"
        return f"<ckks Server, round {self._round}, {self._stage}, {heard}>"

    @property
    def stage(self) -> str:
        """'idle', 'advertise', 'deal', 'commit', 'reveal', 'confirm', 'upload', 'open', 'finished' or
        'aborted'."""
        return self._stage.value

    @property
    def finished(self) -> bool:
        """Whether `result` can be called."""
        return self._stage is Stage.FINISHED

    @property
    def asked(self) -> tuple[int, ...]:
        """The parties that are to be sent a request in this stage, ascending; the authority is 0."""
        return self._asked

    @property
    def waiting(self) -> tuple[int, ...]:
        """Those of whom the answer has not come, or not wholly."""
        return tuple(party for party in self._asked if party not in self._heard)

    def open_round(self, round_: int, context: bytes, prepare: bool = False) -> None:
        """Begin a round; what was left of the one before is given up, except the key.

        It begins with the upload while there is a key with sums left, and with the making of a key otherwise
        (CK-10).

        Args:
            round_: its number, higher than that of every round before.
            context: 32 bytes, the digest of the model and the configuration.
            prepare: has no effect: a key serves many rounds as it is.

        Raises:
            UsageError: a number that is not higher, or one of the two is out of range.
        """
        check_round(round_, context, self._round)
        self._round, self._context = round_, context
        self._answered, self._opening = {}, None
        self._close_uploads()
        # Given up while it was opened: a holder that refused may have forgotten the key (CK-4).
        if self._stage is Stage.OPEN or (self._key is not None and self._is_spent(self._key)):
            self._key = None
        if self._key is not None:
            self._begin_upload()
            return
        self._number += 1
        self._making = KeyMaking(self._run, self._number)
        self._ask(Stage.CONFIRM if self._sole else Stage.ADVERTISE, self._params.holders)

    def request(self, party: int) -> bytes:
        """What to send to a party in this stage; the same each time, until `advance`.

        Raises:
            UsageError: this party is not asked.
        """
        if party not in self._asked:
            raise UsageError(f"Party {party} is not asked in the stage '{self._stage}'.")
        if self._stage is Stage.UPLOAD:
            key = self._current_key()
            signed = None if party in key.known_to else key.signed
            return encode(UploadRequest(session=self._run.session, round=self._round, key=signed))
        if self._opening is not None:
            return self._opening.request(party)
        return encode(self._current_making().request(self._stage, party))

    def receive(self, party: int, message: bytes) -> None:
        """Take in one message.

        Args:
            party: from whom the transport says it came.
            message: its bytes.

        Raises:
            DecodeError: the bytes are no message.
            ProtocolViolation: the message breaks a clause.
            In both cases ``party`` is the sender, nothing has changed, and the round may go on without it.
        """
        try:
            reply = decode_reply(message, self._params)
        except DecodeError as fault:
            raise DecodeError(f"From party {party}: {fault}", party=party) from fault
        if reply.session != self._run.session:
            _refuse(party, "sent a message of another session")
        if reply.sender != party:
            _refuse(party, f"sent a message in the name of party {reply.sender}")
        if not isinstance(reply, SERVER_REPLIES.get(self._stage, ())):
            _refuse(party, f"sent {type(reply).__name__} in the stage '{self._stage}'")
        if party not in self._asked:
            _refuse(party, f"was not asked in the stage '{self._stage}'")
        if party in self._heard:
            # CK-11: a second upload is another encryption of the same vector, or of another one.
            _refuse(
                party,
                f"answered the stage '{self._stage}' twice",
                "CK-11" if self._stage is Stage.UPLOAD else "CK-17",
            )
        if isinstance(reply, UploadChunk | UploadSeal | OpenReply) and reply.round != self._round:
            _refuse(party, f"sent a message of round {reply.round}")
        if self._take(party, reply):
            self._heard.add(party)

    def advance(self) -> None:
        """Close the stage with those who answered.

        Raises:
            TooFewParties: fewer than are needed; the round is aborted.
            ProtocolViolation: CK-4 or CK-16, what was opened is not the sum; the round is aborted.
            UsageError: the round is over, or none was opened.
        """
        if self._stage not in SERVER_REPLIES:
            raise UsageError(f"No stage is open: the round is '{self._stage}'.")
        heard = tuple(party for party in self._asked if party in self._heard)
        if self._stage is Stage.OPEN:
            self._close_opening()
            return
        self._answered[self.stage] = heard
        if self._stage is Stage.UPLOAD:
            self._require(len(heard), self._params.min_survivors, "clients")
            key = self._current_key()
            key.opened += 1
            key.known_to = frozenset(heard)
            self._opening = Opening(self._run, self._round, key, self._current_uploads(), heard)
            self._ask(self._following(Closing.ENOUGH), self._opening.asked)
            return
        self._require(len(heard), self._params.threshold, "holders")
        making = self._current_making()
        if self._stage is Stage.CONFIRM:
            self._key, self._making = making.finished(), None
            self._following(Closing.ENOUGH)
            self._begin_upload()
        elif self._stage in (Stage.COMMIT, Stage.REVEAL) and len(heard) < len(self._asked):
            # What is committed to again is made of fresh secrets, under a new number (CK-7).
            self._number += 1
            making.again(self._number, heard)
            self._ask(self._following(Closing.FEWER), heard)
        else:
            if self._stage is Stage.DEAL:
                making.fix_dealers(heard)
            if self._stage is Stage.REVEAL:
                making.fix_public()
            whole = self._stage in (Stage.COMMIT, Stage.REVEAL)
            self._ask(self._following(Closing.ALL if whole else Closing.ENOUGH), heard)

    def result(self) -> CkksSum:
        """The sum of the survivors.

        Raises:
            UsageError: the round is not finished.
        """
        if not self.finished or self._opening is None:
            raise UsageError(f"The round is not finished: it is in the stage '{self._stage}'.")
        return CkksSum(self._opening.values, self._answered["upload"], dict(self._answered))

    def _take(self, party: int, reply: Reply) -> bool:
        """Take a reply of this stage; whether the party's answer is complete with it."""
        if isinstance(reply, UploadChunk):
            self._current_uploads().take_chunk(party, reply)
            return False
        if isinstance(reply, UploadSeal):
            self._current_uploads().take_seal(party, reply.seal)
        elif isinstance(reply, OpenReply) and self._opening is not None:
            self._opening.take(party, reply)
        else:
            self._current_making().take(party, reply)
        return True

    def _is_spent(self, key: CommitteeKey) -> bool:
        """Whether a key has opened its sums, or is not with all of a committee (CK-10).

        The fewer have a key, the fewer may vanish while a sum is opened.
        """
        partial = self._params.threshold > 1 and key.signers != self._params.holders
        return key.opened >= self._params.sums_per_key or partial

    def _begin_upload(self) -> None:
        key = self._current_key()
        self._uploads = Uploads(self._run, self._round, self._context, key.name, self._spool)
        self._ask(Stage.UPLOAD, tuple(range(1, self._params.clients + 1)))

    def _close_opening(self) -> None:
        opening = self._opening
        if opening is None:
            raise UsageError("Nothing is being opened.")
        heard = len(self._heard)
        try:
            closing = opening.close()
        except ProtocolViolation:
            self._key = None
            self._abort(Closing.MISMATCH)
            raise
        self._answered["open"] = tuple(sorted(opening.answered))
        if closing is Closing.TOO_FEW:
            # With fewer than t of its holders left a key opens nothing more: a new one is needed (CK-10).
            self._key = None
            self._abort(closing)
            raise TooFewParties(
                f"{heard} of the key's holders answered and {self._params.threshold} are needed: the round "
                f"ends after {opening.following} of {self._params.layout.chunks} chunks were opened.",
                hint="Run the next round when the holders can be reached; it begins with a new key.",
            )
        self._ask(self._following(closing), opening.asked if closing is Closing.MORE else ())
        if self.finished:
            self._close_uploads()

    def _ask(self, stage: Stage, parties: tuple[int, ...]) -> None:
        self._stage, self._asked, self._heard = stage, parties, set()

    def _following(self, closing: Closing) -> Stage:
        return SERVER_TRANSITIONS[self._sole][self._stage, closing]

    def _abort(self, closing: Closing) -> None:
        self._ask(self._following(closing), ())
        self._making = None
        self._close_uploads()

    def _close_uploads(self) -> None:
        if self._uploads is not None:
            self._uploads.close()
            self._uploads = None

    def _require(self, count: int, least: int, who: str) -> None:
        if count < least:
            stage = self._stage
            self._abort(Closing.TOO_FEW)
            raise TooFewParties(
                f"{count} {who} are left after the stage '{stage}' and {least} are needed: the round ends "
                "without a sum, and nothing of any vector was revealed.",
                hint=f"Run the next round when more {who} can be reached.",
            )

    def _current_key(self) -> CommitteeKey:
        if self._key is None:
            raise UsageError("There is no key.")
        return self._key

    def _current_making(self) -> KeyMaking:
        if self._making is None:
            raise UsageError("No key is being made.")
        return self._making

    def _current_uploads(self) -> Uploads:
        if self._uploads is None:
            raise UsageError("Nothing is uploaded.")
        return self._uploads


def _refuse(party: int, what: str, clause: str = "CK-17") -> NoReturn:
    raise ProtocolViolation(f"Party {party} {what}.", clause=clause, party=party)
