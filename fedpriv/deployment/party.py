"""A node's side of a run: each message reaches a new process, which goes on from what the last one left.

The clauses DE-1 to DE-8 are those of protocols/deployment/spec.md.
"""

from __future__ import annotations

import hmac
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from fedpriv.aggregation import AggregationClient
from fedpriv.aggregation.interface import Party
from fedpriv.ckks.mode import AUTHORITY
from fedpriv.crypto import SigningKey, derive_key, digest
from fedpriv.deployment.bundle import Bundle
from fedpriv.deployment.messages import (
    Answer,
    Prepare,
    Sign,
    Step,
    Upload,
    Withdraw,
    decode_request,
    hello,
)
from fedpriv.deployment.policy import RunPolicy, load_run_policy
from fedpriv.deployment.transport import Parts
from fedpriv.entropy import Entropy
from fedpriv.errors import IntegrityError, ProtocolViolation, UsageError
from fedpriv.federation.cohort import Cohort
from fedpriv.federation.round_server import round_context
from fedpriv.federation.work.kept import Kept
from fedpriv.federation.work.local_work import learner, local_work
from fedpriv.federation.work.vector import client_vector
from fedpriv.keystore import Roster, StateFile
from fedpriv.local_file import PRIVATE, read_text, replace_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fedpriv.federation.workplace import Workplace

__all__ = ["Node", "answer"]

_ACCEPTED: Final = "accepted"
_ROUND_BYTES: Final = 8
_CONTEXT_BYTES: Final = 32
_TAG_BYTES: Final = 32
_OPENED: Final = b"fedpriv/deployment opened/v1"

_log = logging.getLogger(__name__)


def answer(parts: Parts, *, policy: Path, bundle: Path) -> Parts:
    """Answer one message of a run.

    Args:
        parts: the message, as `messages.encode_request` made it.
        policy: file of the node's policy.
        bundle: folder of what all parties agreed on, from the app that the server sent.

    Returns:
        the answer; what it follows from is on the disk by then.

    Raises:
        FedprivError: why there is none, in a sentence that the server may read: it quotes no record.
    """
    _log.debug("code is loaded")
    node = Node.at(policy, bundle)
    _log.debug("bundle is accepted")
    return node.answer(parts).to_parts()


@dataclass(frozen=True, slots=True)
class Node:
    """One party, for one message.

    Attributes:
        policy: what its owner decided.
        bundle: what all parties agreed on, seen to be what the owner's policy allows.
        key: its identity.
        number: its number in the roster; 0 for the key authority.
    """

    policy: RunPolicy
    bundle: Bundle
    key: SigningKey
    number: int

    @classmethod
    def at(cls, policy: Path, bundle: Path) -> Self:
        """The party whose policy this is.

        Raises:
            UsageError, UnsafeParameters: the policy does not allow the run, or names no party of it.
            IntegrityError: the bundle is damaged.
        """
        own, agreed = load_run_policy(policy), Bundle.read(bundle)
        key, roster = own.party()
        own.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        _accept(own, agreed, roster, policy)
        return cls(own, agreed, key, _number(own, roster, key))

    def answer(self, parts: Parts) -> Answer:
        """Answer one message.

        Raises:
            FedprivError: why there is no answer.
        """
        agreement = self.bundle.agreement
        request = decode_request(parts, dataset=agreement.dataset, parameters=agreement.dimension)
        if request.agreement != agreement.digest():
            raise ProtocolViolation(
                "The server's message is of another deployment than the app.",
                clause="DE-1",
                hint="All parties hold one agreement; its digest is in every message.",
            )
        if isinstance(request, Step):
            return self._step(request)
        if self.number == AUTHORITY:
            return Answer(AUTHORITY, hello(self.key, request) if isinstance(request, Prepare) else b"")
        return Answer(self.number, self._book(request))

    def _book(self, request: Prepare | Sign | Withdraw) -> bytes:
        """What a client signs where no sum is in progress."""
        from fedpriv.deployment.node_account import open_account

        with open_account(self.policy, self.bundle, self.key) as account:
            signed = account.follow(request.rows)  # none at all, too: a ledger that was lost is an older one
            if isinstance(request, Withdraw):
                return account.withdraw(request.run.hex(), request.round, self.policy)
            if isinstance(request, Sign):
                return signed
            if request.begins:
                account.records.workplace(self.policy, self.bundle, self.number)
                account.willing(self.policy)
            return hello(self.key, request)

    def _step(self, request: Step) -> Answer:
        """One request of the sum's protocol."""
        plan = self.bundle.plan
        if not 1 <= request.round <= plan.rounds:
            raise ProtocolViolation(
                f"Round {request.round} is not one of the {plan.rounds} that were planned.",
                clause="DE-3",
                hint="How many rounds a run has follows from the plan.",
            )
        cohort = Cohort.of(plan, request.run, self.bundle.roster, request.round)
        if self.number not in (AUTHORITY, *cohort.members):
            raise ProtocolViolation(
                f"Client {self.number} has no place in round {request.round}.",
                clause="DE-3",
                hint="Whose turn it is follows from the plan.",
            )
        name = f"{cohort.run_id.hex()}.state"
        anchors = self.policy.anchors or self.policy.state
        with StateFile(self.policy.state / name, anchors / f"{name}.sequence") as file:
            client = None if self.number == AUTHORITY else self._client(cohort)
            party: Party = client or cohort.authority(self.key, os.urandom)
            opened = self._resume(party, file.load(), request)
            _log.debug("state is resumed")
            signature, before = b"", party.sequence
            if request.upload is not None:
                signature = self._prepare_upload(client, opened[_ROUND_BYTES:], request, request.upload)
            try:
                messages = party.handle(request.message)
                _log.debug("messages are made")
            finally:
                # DE-6, also where a refusal is a step: a party that forgot its answer could give another.
                if party.sequence > before or request.opens:
                    tag = self._tag(request.run, opened)
                    file.store(opened + tag + party.save(), party.sequence)
                    _log.debug("state is kept")
            return Answer(self.number, signature, tuple(messages))

    def _resume(self, party: Party, saved: tuple[bytes, int] | None, request: Step) -> bytes:
        """Go on from what was saved, and open the round where this is its first message.

        Returns:
            number and context of the round that is open, as they stand before the sealed state.

        Raises:
            IntegrityError: the saved state is not this node's, or was changed.
            ProtocolViolation: the round is not the one that is open (DE-3).
        """
        asked, opened = request.round.to_bytes(_ROUND_BYTES, "big") + request.context, b""
        if saved is not None:
            length = _ROUND_BYTES + _CONTEXT_BYTES
            opened, tag, state = (
                saved[0][:length],
                saved[0][length:][:_TAG_BYTES],
                saved[0][length + _TAG_BYTES :],
            )
            if not hmac.compare_digest(tag, self._tag(request.run, opened)):
                raise IntegrityError(
                    "The saved state is not that of this node in this run, or was changed. [DE-6]",
                    hint="This node's part in the run has ended; take part in another run.",
                )
            party.restore(state, least_sequence=saved[1])
        if request.opens:
            party.open_round(request.round, request.context)
            return asked
        if opened != asked:
            raise ProtocolViolation(
                f"Round {request.round} is not the one that was opened here, or was opened for something "
                "else.",
                clause="DE-3",
                hint="The first message of a round opens it, for one model and one ledger.",
            )
        return opened

    def _tag(self, run: bytes, opened: bytes) -> bytes:
        """What shows that this node itself opened a round, with this context: 32 bytes (DE-6)."""
        return derive_key(self.key.seed, salt=run, info=(_OPENED, opened))

    def _client(self, cohort: Cohort) -> AggregationClient:
        entropy = Entropy(self.bundle.config.privacy.insecure_seed)
        return cohort.client(self.number, self.key, entropy, os.urandom)

    def _prepare_upload(
        self, party: AggregationClient | None, context: bytes, request: Step, upload: Upload
    ) -> bytes:
        """Reserve the round, work, and give the party its vector; the countersignature for the server."""
        if party is None:
            raise ProtocolViolation(
                "The key authority was asked for an upload.", clause="DE-3", hint="It has no records."
            )
        from fedpriv.deployment.node_account import open_account

        self._check_context(context, upload)
        with open_account(self.policy, self.bundle, self.key) as account:
            signed = account.follow(upload.rows)
            _log.debug("ledger is followed")
            work = account.records.workplace(self.policy, self.bundle, self.number)
            _log.debug("model and records are loaded")
            kept = self._kept(work, request)
            # DE-5: by now all that can be wrong was seen.
            account.reserve(request.run.hex(), request.round, self.policy)
            _log.debug("round is reserved")
        party.set_vectors(self._vector(work, party, request.round, upload, kept))
        return signed

    def _kept(self, work: Workplace, request: Step) -> Kept | None:
        """What this client keeps of the model to itself in this run, seen to be whole; None for nothing."""
        folder = self.policy.state / f"{request.run.hex()}.kept"
        kept = Kept.of_work(work, lambda client: folder)
        if kept is not None:
            kept.of(self.number, before=request.round)
        return kept

    def _check_context(self, context: bytes, upload: Upload) -> None:
        """Insist that the round was opened for the very model, and the very ledger, that came now (DE-4)."""
        agreement = self.bundle.agreement
        expected = round_context(
            head=upload.rows[-1].hash if upload.rows else b"",
            config=agreement.config,
            manifest=agreement.manifest,
            parameters=upload.parameters,
            state=upload.state,
        )
        if context != expected:
            raise ProtocolViolation(
                "The model or the ledger is not what the round was opened for.",
                clause="DE-4",
                hint="The server sends all clients one model and one ledger, and first their digest.",
            )

    def _vector(
        self, work: Workplace, party: AggregationClient, round_: int, upload: Upload, kept: Kept | None
    ) -> NDArray[np.uint64]:
        """What this client puts into the round's sum."""
        plan, entropy = self.bundle.plan, Entropy(self.bundle.config.privacy.insecure_seed)
        learns = learner(work, plan)
        local = local_work(work, plan, entropy, learns, kept)
        if upload.state:
            local.load_state_dict(upload.state)
        work.manifest.restore(work.model, upload.parameters)
        vector = client_vector(
            local,
            plan,
            entropy,
            round_=round_,
            client=self.number,
            parameters=upload.parameters,
            level_secrets=party.level_secrets,
        )
        if learns.dropped:
            _log.warning("%d records had a gradient that is not finite; they were left out.", learns.dropped)
        work.save_prefixes()
        return vector


def _number(policy: RunPolicy, roster: Roster, key: SigningKey) -> int:
    """Which party of the roster this identity is."""
    if policy.role == "authority":
        if key.public != policy.authority:
            raise UsageError("This node's identity is not the key authority's, as its policy names it.")
        return AUTHORITY
    return roster.client_of(key.public)


def _accept(policy: RunPolicy, bundle: Bundle, roster: Roster, path: Path) -> None:
    """See that the policy allows the run (DE-2); files that were seen before are told by a note of them.

    To price a plan takes seconds, and a party answers several messages a round.
    """
    seen = digest(
        "fedpriv/accepted bundle/v1",
        bundle.digest,
        read_text(path, "node policy").encode(),
        roster.fingerprint.encode(),
    )
    accepted = policy.state / _ACCEPTED
    if accepted.exists() and accepted.read_bytes() == seen:
        return
    policy.check_agreement(bundle.agreement, roster, bundle.plan)
    replace_file(accepted, seen, what="note of what was accepted", mode=PRIVATE)
