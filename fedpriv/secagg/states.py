"""The transition tables of client and server, and the diagrams drawn from them.

What is not in a table is illegal and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from fedpriv.errors import ProtocolViolation
from fedpriv.secagg.messages import (
    AdvertiseReply,
    AdvertiseRequest,
    ConsistencyReply,
    ConsistencyRequest,
    Message,
    ShareReply,
    ShareRequest,
    UnmaskReply,
    UnmaskRequest,
    UploadHeader,
    UploadPart,
    UploadRequest,
)

__all__ = [
    "CLIENT_TRANSITIONS",
    "SERVER_REPLIES",
    "SERVER_TRANSITIONS",
    "ClientState",
    "Closing",
    "Stage",
    "after_request",
    "diagrams",
]


class ClientState(StrEnum):
    """What a client has answered so far in this round."""

    IDLE = "idle"
    NEW = "new"
    PREPARED = "prepared"
    ADVERTISED = "advertised"
    SHARED = "shared"
    UPLOADED = "uploaded"
    SIGNED = "signed"
    ANSWERED = "answered"


class Stage(StrEnum):
    """What the server is waiting for."""

    IDLE = "idle"
    ADVERTISE = "advertise"
    SHARE = "share"
    UPLOAD = "upload"
    CONSISTENCY = "consistency"
    UNMASK = "unmask"
    FINISHED = "finished"
    ABORTED = "aborted"


class Closing(StrEnum):
    """How a stage closes."""

    ENOUGH = "enough are left"
    NOBODY_JOINED = "enough were prepared and nobody joined"
    TOO_FEW = "too few are left"
    MISMATCH = "a recovered secret is false"
    FAULT = "masks were taken off in part"


_ClientTable = Mapping[tuple[ClientState, type[Message]], ClientState]
_ServerTable = Mapping[tuple[Stage, Closing], Stage]

_CLIENT_COMMON: _ClientTable = {
    (ClientState.NEW, AdvertiseRequest): ClientState.ADVERTISED,
    (ClientState.PREPARED, AdvertiseRequest): ClientState.ADVERTISED,
    (ClientState.ADVERTISED, ShareRequest): ClientState.SHARED,
    (ClientState.SHARED, UploadRequest): ClientState.UPLOADED,
    (ClientState.PREPARED, UploadRequest): ClientState.UPLOADED,
}

# By whether the server may deviate: then clients sign the list of survivors.
CLIENT_TRANSITIONS: Mapping[bool, _ClientTable] = {
    True: {
        **_CLIENT_COMMON,
        (ClientState.UPLOADED, ConsistencyRequest): ClientState.SIGNED,
        (ClientState.SIGNED, UnmaskRequest): ClientState.ANSWERED,
    },
    False: {**_CLIENT_COMMON, (ClientState.UPLOADED, UnmaskRequest): ClientState.ANSWERED},
}

_SERVER_COMMON: _ServerTable = {
    (Stage.ADVERTISE, Closing.ENOUGH): Stage.SHARE,
    (Stage.ADVERTISE, Closing.NOBODY_JOINED): Stage.UPLOAD,
    (Stage.ADVERTISE, Closing.TOO_FEW): Stage.ABORTED,
    (Stage.SHARE, Closing.ENOUGH): Stage.UPLOAD,
    (Stage.SHARE, Closing.TOO_FEW): Stage.ABORTED,
    (Stage.UPLOAD, Closing.TOO_FEW): Stage.ABORTED,
    (Stage.UNMASK, Closing.ENOUGH): Stage.FINISHED,
    (Stage.UNMASK, Closing.TOO_FEW): Stage.ABORTED,
    (Stage.UNMASK, Closing.MISMATCH): Stage.ABORTED,
    (Stage.UNMASK, Closing.FAULT): Stage.ABORTED,
}

SERVER_TRANSITIONS: Mapping[bool, _ServerTable] = {
    True: {
        **_SERVER_COMMON,
        (Stage.UPLOAD, Closing.ENOUGH): Stage.CONSISTENCY,
        (Stage.CONSISTENCY, Closing.ENOUGH): Stage.UNMASK,
        (Stage.CONSISTENCY, Closing.TOO_FEW): Stage.ABORTED,
    },
    False: {**_SERVER_COMMON, (Stage.UPLOAD, Closing.ENOUGH): Stage.UNMASK},
}

# The kinds of message that each stage takes.
SERVER_REPLIES: Mapping[Stage, tuple[type[Message], ...]] = {
    Stage.ADVERTISE: (AdvertiseReply,),
    Stage.SHARE: (ShareReply,),
    Stage.UPLOAD: (UploadHeader, UploadPart),
    Stage.CONSISTENCY: (ConsistencyReply,),
    Stage.UNMASK: (UnmaskReply,),
}


def after_request(state: ClientState, message: Message, *, malicious: bool) -> ClientState:
    """The state in which a client's answer leaves it.

    Raises:
        ProtocolViolation: SA-15, the request is not the next one.
    """
    following = CLIENT_TRANSITIONS[malicious].get((state, type(message)))
    if following is None:
        raise ProtocolViolation(
            f"The server sent {type(message).__name__} to a client that is '{state}': "
            "each request comes once, and in its turn.",
            clause="SA-15",
        )
    return following


def diagrams() -> str:
    """Both tables as a Markdown page of Mermaid state diagrams (protocols/secagg/states.md)."""
    lines = ["# State diagrams", "", "Drawn from the transition tables in `fedpriv/secagg/states.py`.", ""]
    lines += [
        "A round begins for a client as `prepared` if it made keys ahead, and as `new` otherwise; for the"
    ]
    lines += [
        "server in the stage `upload` if all that it wants to ask are prepared, and in `advertise` otherwise."
    ]
    lines += [""]
    for malicious in (True, False):
        mode = "malicious mode" if malicious else "semi-honest mode"
        lines += [f"## Client, {mode}", "", "```mermaid", "stateDiagram-v2"]
        lines += [f"    [*] --> {ClientState.NEW}", f"    [*] --> {ClientState.PREPARED}"]
        for (state, message), following in CLIENT_TRANSITIONS[malicious].items():
            lines.append(f"    {state} --> {following} : {message.__struct_config__.tag}")
        lines += [f"    {ClientState.ANSWERED} --> [*]", "```", ""]
        lines += [f"## Server, {mode}", "", "```mermaid", "stateDiagram-v2"]
        lines += [f"    [*] --> {Stage.ADVERTISE}", f"    [*] --> {Stage.UPLOAD}"]
        for (stage, closing), next_stage in SERVER_TRANSITIONS[malicious].items():
            lines.append(f"    {stage} --> {next_stage} : {closing}")
        lines += [f"    {Stage.FINISHED} --> [*]", f"    {Stage.ABORTED} --> [*]", "```", ""]
    return "\n".join(lines).rstrip("\n") + "\n"
