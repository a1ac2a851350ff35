"""The transition tables of client, holder and server, and the diagrams drawn from them.

What is not in a table is illegal and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from fedpriv.ckks.messages import (
    AdvertiseReply,
    AdvertiseRequest,
    CommitReply,
    CommitRequest,
    ConfirmReply,
    ConfirmRequest,
    DealReply,
    DealRequest,
    Message,
    OpenReply,
    OpenRequest,
    RevealReply,
    RevealRequest,
    UploadChunk,
    UploadRequest,
    UploadSeal,
)
from fedpriv.errors import ProtocolViolation

__all__ = [
    "CLIENT_TRANSITIONS",
    "HOLDER_TRANSITIONS",
    "SERVER_REPLIES",
    "SERVER_TRANSITIONS",
    "ClientState",
    "Closing",
    "HolderState",
    "Stage",
    "client_after",
    "diagrams",
    "holder_after",
]


class ClientState(StrEnum):
    """What a client has done in this round."""

    IDLE = "idle"
    NEW = "new"
    UPLOADED = "uploaded"


class HolderState(StrEnum):
    """How far a holder is with its key; a round's end changes nothing."""

    KEYLESS = "keyless"
    ADVERTISED = "advertised"
    DEALT = "dealt"
    COMMITTED = "committed"
    REVEALED = "revealed"
    READY = "ready"


class Stage(StrEnum):
    """What the server is waiting for."""

    IDLE = "idle"
    ADVERTISE = "advertise"
    DEAL = "deal"
    COMMIT = "commit"
    REVEAL = "reveal"
    CONFIRM = "confirm"
    UPLOAD = "upload"
    OPEN = "open"
    FINISHED = "finished"
    ABORTED = "aborted"


class Closing(StrEnum):
    """How a stage closes."""

    ALL = "all answered"
    ENOUGH = "enough answered"
    FEWER = "one vanished, enough are left"
    TOO_FEW = "too few are left"
    MORE = "chunks are left"
    MISMATCH = "something else than this sum was opened"


CLIENT_TRANSITIONS: Mapping[tuple[ClientState, type[Message]], ClientState] = {
    (ClientState.NEW, UploadRequest): ClientState.UPLOADED,
}

_HolderTable = Mapping[tuple[HolderState, type[Message]], HolderState]

# By whether there is one holder: then only the last stage takes place.  A key can be begun anew at any time.
HOLDER_TRANSITIONS: Mapping[bool, _HolderTable] = {
    False: {
        **{(state, AdvertiseRequest): HolderState.ADVERTISED for state in HolderState},
        (HolderState.ADVERTISED, DealRequest): HolderState.DEALT,
        (HolderState.DEALT, CommitRequest): HolderState.COMMITTED,
        (HolderState.COMMITTED, CommitRequest): HolderState.COMMITTED,
        (HolderState.REVEALED, CommitRequest): HolderState.COMMITTED,
        (HolderState.COMMITTED, RevealRequest): HolderState.REVEALED,
        (HolderState.REVEALED, ConfirmRequest): HolderState.READY,
        (HolderState.READY, OpenRequest): HolderState.READY,
    },
    True: {
        (HolderState.KEYLESS, ConfirmRequest): HolderState.READY,
        (HolderState.READY, ConfirmRequest): HolderState.READY,
        (HolderState.READY, OpenRequest): HolderState.READY,
    },
}

_ROUND = {
    (Stage.CONFIRM, Closing.ENOUGH): Stage.UPLOAD,
    (Stage.CONFIRM, Closing.TOO_FEW): Stage.ABORTED,
    (Stage.UPLOAD, Closing.ENOUGH): Stage.OPEN,
    (Stage.UPLOAD, Closing.TOO_FEW): Stage.ABORTED,
    (Stage.OPEN, Closing.MORE): Stage.OPEN,
    (Stage.OPEN, Closing.ENOUGH): Stage.FINISHED,
    (Stage.OPEN, Closing.TOO_FEW): Stage.ABORTED,
    (Stage.OPEN, Closing.MISMATCH): Stage.ABORTED,
}

SERVER_TRANSITIONS: Mapping[bool, Mapping[tuple[Stage, Closing], Stage]] = {
    False: {
        (Stage.ADVERTISE, Closing.ENOUGH): Stage.DEAL,
        (Stage.ADVERTISE, Closing.TOO_FEW): Stage.ABORTED,
        (Stage.DEAL, Closing.ENOUGH): Stage.COMMIT,
        (Stage.DEAL, Closing.TOO_FEW): Stage.ABORTED,
        (Stage.COMMIT, Closing.ALL): Stage.REVEAL,
        (Stage.COMMIT, Closing.FEWER): Stage.COMMIT,
        (Stage.COMMIT, Closing.TOO_FEW): Stage.ABORTED,
        (Stage.REVEAL, Closing.ALL): Stage.CONFIRM,
        (Stage.REVEAL, Closing.FEWER): Stage.COMMIT,
        (Stage.REVEAL, Closing.TOO_FEW): Stage.ABORTED,
        **_ROUND,
    },
    True: _ROUND,
}

# The kinds of message that each stage takes.
SERVER_REPLIES: Mapping[Stage, tuple[type[Message], ...]] = {
    Stage.ADVERTISE: (AdvertiseReply,),
    Stage.DEAL: (DealReply,),
    Stage.COMMIT: (CommitReply,),
    Stage.REVEAL: (RevealReply,),
    Stage.CONFIRM: (ConfirmReply,),
    Stage.UPLOAD: (UploadChunk, UploadSeal),
    Stage.OPEN: (OpenReply,),
}


def client_after(state: ClientState, message: Message) -> ClientState:
    """The state in which a client's answer leaves it.

    Raises:
        ProtocolViolation: CK-11, it has encrypted in this round; CK-17, the request is not for it now.
    """
    following = CLIENT_TRANSITIONS.get((state, type(message)))
    if following is not None:
        return following
    if state is ClientState.UPLOADED and isinstance(message, UploadRequest):
        raise ProtocolViolation("A client encrypts its vector once in a round.", clause="CK-11")
    raise _out_of_turn(f"a client that is '{state}'", message)


def holder_after(state: HolderState, message: Message, *, sole: bool) -> HolderState:
    """The state in which a holder's answer leaves it.

    Raises:
        ProtocolViolation: CK-17, the request is not the next one.
    """
    following = HOLDER_TRANSITIONS[sole].get((state, type(message)))
    if following is None:
        raise _out_of_turn(f"a holder that is '{state}'", message)
    return following


def diagrams() -> str:
    """The tables as a Markdown page of Mermaid state diagrams (protocols/ckks/states.md)."""
    lines = ["# State diagrams", "", "Drawn from the transition tables in `fedpriv/ckks/states.py`.", ""]
    lines += [
        "A round begins for a client as `new`. For the server it begins in the stage `upload` while it has a",
        "key with sums left, and with the making of a key otherwise. A holder's state outlives rounds.",
        "",
    ]
    lines += ["## Client", "", "```mermaid", "stateDiagram-v2", f"    [*] --> {ClientState.NEW}"]
    for (state, message), following in CLIENT_TRANSITIONS.items():
        lines.append(f"    {state} --> {following} : {_tag(message)}")
    lines += [f"    {ClientState.UPLOADED} --> [*]", "```", ""]
    for sole in (False, True):
        who = "a sole holder" if sole else "a committee"
        lines += [f"## Holder, {who}", "", "```mermaid", "stateDiagram-v2"]
        lines += [f"    [*] --> {HolderState.KEYLESS}"]
        for (holder, message), next_state in HOLDER_TRANSITIONS[sole].items():
            lines.append(f"    {holder} --> {next_state} : {_tag(message)}")
        lines += ["```", "", f"## Server, {who}", "", "```mermaid", "stateDiagram-v2"]
        lines += [f"    [*] --> {Stage.CONFIRM if sole else Stage.ADVERTISE}", f"    [*] --> {Stage.UPLOAD}"]
        for (stage, closing), next_stage in SERVER_TRANSITIONS[sole].items():
            lines.append(f"    {stage} --> {next_stage} : {closing}")
        lines += [f"    {Stage.FINISHED} --> [*]", f"    {Stage.ABORTED} --> [*]", "```", ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _tag(message: type[Message]) -> str:
    return str(message.__struct_config__.tag)


def _out_of_turn(who: str, message: Message) -> ProtocolViolation:
    return ProtocolViolation(
        f"The server sent {type(message).__name__} to {who}: each request comes once, and in its turn.",
        clause="CK-17",
    )
