"""The server of a run, without IO: it asks, folds in what comes, and closes one stage after another.

Nothing that a client's safety depends on is decided here: each client checks for itself.  The server's own
checks protect the result, and say which client broke the protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from fedpriv.crypto.prg import add_masks
from fedpriv.errors import DecodeError, ProtocolViolation, TooFewParties, UsageError
from fedpriv.secagg.keys import Group, Roster
from fedpriv.secagg.masking import AddMasks
from fedpriv.secagg.messages import decode_reply, encode
from fedpriv.secagg.params import SecAggParams, Sum
from fedpriv.secagg.recovery import level_secrets, remaining_masks
from fedpriv.secagg.server_memory import Prepared, Record, record_seal
from fedpriv.secagg.server_round import ServerRound, refuse
from fedpriv.secagg.states import SERVER_REPLIES, SERVER_TRANSITIONS, Closing, Stage

__all__ = ["Server"]


class Server:
    """The server's side of all rounds of a run.

    Use: `open_round`; then, until ``finished``, send `request` to each of those in ``asked``, `receive` every
    message of what comes back, and `advance` when no more is awaited.  Clients that did not answer a stage
    are not asked again in this round.

    Args:
        params, run_id, roster: the same as the clients'; where they differ, no client answers.
        masks: what expands masks: `fedpriv.crypto.add_masks`, or the ``add_masks`` of `MaskWorkers`.

    Raises:
        UsageError: a roster that does not fit.
    """

    def __init__(
        self, params: SecAggParams, run_id: bytes, roster: Mapping[int, bytes], *, masks: AddMasks = add_masks
    ) -> None:
        self._params = params
        self._roster = Roster.of(roster, params.clients)
        self._group = Group.of(params, run_id, self._roster)
        self._add_masks = masks
        self._round = ServerRound(params, self._group, self._roster, Record())

    def __repr__(self) -> str:
        record = self._record
        heard = f"{len(record.heard)} of {len(record.asked)}"
        return f"<secagg Server, round {record.round}, {record.stage}, {heard}>"

    @property
    def stage(self) -> str:
        """'idle', 'advertise', 'share', 'upload', 'consistency', 'unmask', 'finished' or 'aborted'."""
        return str(self._record.stage)

    @property
    def finished(self) -> bool:
        """Whether `result` can be called."""
        return self._record.stage is Stage.FINISHED

    @property
    def asked(self) -> tuple[int, ...]:
        """The clients that are to be sent a request in this stage, ascending."""
        return self._record.asked

    @property
    def waiting(self) -> tuple[int, ...]:
        """Those of whom the answer has not come, or not wholly."""
        return tuple(client for client in self._record.asked if client not in self._record.heard)

    @property
    def sequence(self) -> int:
        """A number that grows with every step; see `Client.sequence`."""
        return self._record.sequence

    def open_round(
        self, round_: int, context: bytes, *, invite: Iterable[int] | None = None, prepare: bool = False
    ) -> None:
        """Begin a round; what was left of the one before is given up, except keys that were made ahead.

        Args:
            round_: its number, higher than that of every round before.
            context: 32 bytes, the digest of the model and the configuration.
            invite: the clients to be asked for keys if they have made none ahead; all, if not given.  If none
                is left to ask, the round starts with the upload.  Leave out who is gone for good: whoever was
                not in the round before holds no shares of those that made keys in it, so that with too many
                of them all are asked for new keys.
            prepare: ask for keys and shares for the round ``round_ + 1`` together with the upload, so that it
                takes two exchanges less; on the complete graph only.

        Raises:
            UsageError: a number that is not higher, a client that does not exist, or nobody to ask.
        """
        session = self._group.session(round_, context)
        if round_ <= self._record.round:
            raise UsageError(
                f"Round {round_} does not come after round {self._record.round}.",
                hint="Give each round a higher number than all before; a lost one is not repeated. [SA-6]",
            )
        if prepare and not self._params.complete:
            raise UsageError("On a sparse graph no round can be prepared ahead: its graph is drawn anew.")
        invited = set(self._roster if invite is None else invite)
        if not invited <= self._roster.keys():
            raise UsageError(f"Client {min(invited - self._roster.keys())} is not in the roster.")
        ready = self._ready(round_, invited)
        record = self._record.next_round(round_, session, prepare, ready)
        joining = (invited | self._record.ahead.keys()) - ready.keys()
        if len(joining) + len(record.bundles) < self._params.min_survivors:
            raise UsageError(
                f"{len(joining)} invited and {len(record.bundles)} prepared clients cannot be the "
                f"{self._params.min_survivors} that a sum needs."
            )
        self._round = ServerRound(self._params, self._group, self._roster, record)
        if joining:
            self._round.ask(Stage.ADVERTISE, joining)
        else:
            self._close_keys(Stage.UPLOAD)

    def request(self, client_id: int) -> bytes:
        """What to send to a client in this stage; the same each time, until `advance`.

        Raises:
            UsageError: this client is not asked.
        """
        if not self._round.is_asked(client_id):
            raise UsageError(f"Client {client_id} is not asked in the stage '{self.stage}'.")
        return encode(self._round.request(client_id))

    def receive(self, client_id: int, message: bytes) -> None:
        """Take in one message.

        Args:
            client_id: from whom the transport says it came.
            message: its bytes.

        Raises:
            DecodeError: the bytes are no message.
            ProtocolViolation: the message breaks a clause.
            In both cases ``party`` is the client, nothing has changed, and the round may go on without it.
        """
        record = self._record
        try:
            reply = decode_reply(message, self._params)
        except DecodeError as fault:
            raise DecodeError(f"From client {client_id}: {fault}", party=client_id) from fault
        if reply.session != record.session:
            refuse(client_id, "sent a message of another session", "SA-4")
        if reply.sender != client_id:
            refuse(client_id, f"sent a message in the name of client {reply.sender}", "SA-15")
        if not isinstance(reply, SERVER_REPLIES.get(record.stage, ())):
            refuse(client_id, f"sent {type(reply).__name__} in the stage '{self.stage}'", "SA-15")
        if not self._round.is_asked(client_id):
            refuse(client_id, f"was not asked in the stage '{self.stage}'", "SA-15")
        if client_id in record.heard:
            refuse(client_id, f"answered the stage '{self.stage}' twice", "SA-15")
        if self._round.take(client_id, reply):
            record.heard.add(client_id)
        record.sequence += 1

    def advance(self) -> None:
        """Close the stage with those who answered.

        Raises:
            TooFewParties: fewer than are needed; the round is aborted.
            ProtocolViolation: SA-12, a recovered secret is not the one committed to; the round is aborted.
            UsageError: the round is over, or none was opened.
        """
        record = self._record
        if record.stage not in SERVER_REPLIES:
            raise UsageError(f"No stage is open: the round is '{self.stage}'.")
        record.sequence += 1
        heard = tuple(client for client in record.asked if client in record.heard)
        if record.stage is Stage.ADVERTISE:
            self._close_keys(self._following(Closing.ENOUGH if heard else Closing.NOBODY_JOINED))
        elif record.stage is Stage.SHARE:
            self._require(len(record.early) + len(heard), self._params.min_survivors)
            record.answered[Stage.SHARE] = tuple(sorted((*heard, *record.early)))
            self._round.ask(Stage.UPLOAD, self._round.reachable(record.answered[Stage.SHARE]))
        elif record.stage is Stage.UPLOAD:
            self._require(len(heard), self._params.min_survivors)
            record.answered[Stage.UPLOAD] = heard
            record.uploads = {}
            self._round.ask(self._following(Closing.ENOUGH), self._round.reachable(heard))
        elif record.stage is Stage.CONSISTENCY:
            self._require(len(heard), self._params.threshold)
            record.answered[Stage.CONSISTENCY] = heard
            self._round.ask(Stage.UNMASK, filter(self._round.has_signatures, heard))
        else:
            record.answered[Stage.UNMASK] = heard
            self._unmask()

    def result(self) -> Sum:
        """The sums of the survivors.

        Raises:
            UsageError: the round is not finished.
        """
        if not self.finished:
            raise UsageError(f"The round is not finished: it is in the stage '{self.stage}'.")
        answered = self._record.answered
        return Sum(
            self._round.sum.values(),
            answered[Stage.UPLOAD],
            dict(answered),
            level=self._params.level_of(len(answered[Stage.UPLOAD])),
            level_secrets=dict(self._record.level_secrets),
        )

    def save(self, key: bytes, rand: Callable[[int], bytes]) -> bytes:
        """All that the server remembers, encrypted under its own key of 32 bytes; keep `sequence` apart."""
        self._record.sums = self._round.sum.words()
        return record_seal(self._group, key).seal(self._record, rand)

    def restore(self, data: bytes, key: bytes, *, least_sequence: int) -> None:
        """Go on from what `save` gave.

        Raises:
            IntegrityError: not this run's state, or one that is older (SA-6).
        """
        seal = record_seal(self._group, key)
        record = seal.open(data, Record, least_sequence)
        try:
            self._round = ServerRound(self._params, self._group, self._roster, record)
        except (LookupError, ValueError, OverflowError) as fault:
            raise seal.foreign() from fault

    def _ready(self, round_: int, invited: set[int]) -> dict[int, Prepared]:
        """Those that need not be asked for keys; nobody, where a round that they began could end too soon.

        A client that was not in the cohort of the round before holds no share of those that dealt ahead in
        it.  With all dropouts that are allowed, t clients must be left that do.
        """
        record, least = self._record, self._params.min_survivors
        cohort = {client for prepared in record.ahead.values() for client in prepared.shares}
        without_shares = invited - cohort - record.ahead.keys()
        enough = not without_shares or least - len(without_shares) >= self._params.threshold
        if round_ != record.round + 1 or len(record.ahead) < least or not enough:
            return {}
        return record.ahead

    def _following(self, closing: Closing) -> Stage:
        return SERVER_TRANSITIONS[self._params.malicious][self._record.stage, closing]

    def _abort(self, closing: Closing) -> None:
        self._record.stage = self._following(closing)
        self._record.forget()

    def _require(self, count: int, least: int) -> None:
        if count < least:
            stage = self.stage
            self._abort(Closing.TOO_FEW)
            raise TooFewParties(
                f"{count} clients are left after the stage '{stage}' and {least} are needed: the round ends "
                "without a sum, and nothing of any vector was revealed.",
                hint="Run the next round when more clients can be reached.",
            )

    def _close_keys(self, following: Stage) -> None:
        """Fix U1, and with it the cohort; ``following`` is 'share', or 'upload' where all are prepared."""
        record = self._record
        members = tuple(sorted(record.bundles))
        self._require(len(members), self._params.min_survivors)
        self._round.fix_cohort()
        record.answered[Stage.ADVERTISE] = members
        if following is Stage.SHARE:
            self._round.ask(Stage.SHARE, (client for client in members if client not in record.early))
        else:
            record.answered[Stage.SHARE] = members
            self._round.ask(Stage.UPLOAD, members)

    def _unmask(self) -> None:
        """Recover the secrets, check each, and only then take the masks out of the sum."""
        record = self._record
        try:
            masks = remaining_masks(
                self._params,
                self._group,
                record.round,
                self._round.register,
                record.answered[Stage.SHARE],
                self._round.answered(Stage.UPLOAD),
                record.shares,
            )
        except TooFewParties:
            self._abort(Closing.TOO_FEW)
            raise
        except ProtocolViolation:
            self._abort(Closing.MISMATCH)
            raise
        record.level_secrets = level_secrets(
            self._params,
            record.round,
            self._round.register,
            self._round.answered(Stage.UPLOAD),
            record.level_shares,
        )
        try:
            self._round.sum.add_masks(masks, self._add_masks)
        except BaseException:  # also Ctrl-C: who went on from here would take some off twice
            self._abort(Closing.FAULT)
            raise
        record.stage = self._following(Closing.ENOUGH)
        record.forget()

    @property
    def _record(self) -> Record:
        return self._round.record
