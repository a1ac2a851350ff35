"""Runs of the reference whose every byte is decided by their name: what the vectors are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from reference import secagg as reference
from reference.secagg_primitives import hash_, keystream
from reference.secagg_server import Server
from reference.secagg_wire import Message, pack_message, unpack_message

Case = dict[str, Any]
UPDATE = (("update", 20, 5),)


def rand_of(key: str) -> Callable[[int], bytes]:
    """The bytes of the AES-256-CTR stream of a key (hex), zero counter, one piece after the other."""
    stream, position = keystream(bytes.fromhex(key), 65536), 0

    def rand(count: int) -> bytes:
        nonlocal position
        position += count
        return stream[position - count : position]

    return rand


def tag(*words: object) -> str:
    """64 hex digits that nobody chose."""
    return hash_("fedpriv vectors", *(str(word).encode() for word in words)).hex()


class Play:
    """One run of the reference; each `round` goes on from the one before."""

    def __init__(
        self,
        name: str,
        about: str,
        n: int,
        vectors: Sequence[tuple[str, int, int]] = UPDATE,
        *,
        a: int = 0,
        mode: int = 1,
        k: int | None = None,
        t: int | None = None,
        m: int | None = None,
        levels: Sequence[int] = (),
    ) -> None:
        threshold = (n + a) // 2 + 1 if t is None else t
        self.name, self.about = name, about
        self.inputs: Case = {
            "n": n,
            "k": n - 1 if k is None else k,
            "t": threshold,
            "m": threshold if m is None else m,
            "a": a,
            "mode": mode,
            "vectors": [{"name": word, "b": b, "d": d} for word, b, d in vectors],
            "run_id": tag(name, "run")[:32],
            "identities": {str(i): tag(name, "identity", i) for i in range(1, n + 1)},
        }
        if levels:
            self.inputs["levels"] = list(levels)
        self.setting = reference.Setting(self.inputs)
        self.entropy = {i: tag(name, "entropy", i) for i in range(1, n + 1)}
        self.clients = {i: reference.Client(self.setting, i, rand_of(key)) for i, key in self.entropy.items()}
        self.server = Server(self.setting)
        self.rounds: list[Case] = []

    def round(
        self,
        number: int,
        lost: dict[int, str] | None = None,
        *,
        invite: list[int] | None = None,
        prepare: bool = False,
        away: Iterable[int] = (),
    ) -> Play:
        """One honest round: clients are lost from a stage on, and those that are away never begin it."""
        context = bytes.fromhex(tag(self.name, "context", number))
        gone = {**dict.fromkeys(away, "advertise"), **(lost or {})}
        vectors = {i: self.draw(number, i) for i in self.clients if i not in away}
        self.server.begin(number, context, invite=invite, prepare=prepare)
        for i, x in vectors.items():
            self.clients[i].begin(number, context, x)
        stages: list[Case] = []
        order = ["advertise", "share", "upload", "consistency", "unmask"]
        while self.server.stages:
            stage, requests = self.server.stages[0], self.server.requests()
            present = [i for i in requests if i not in gone or order.index(stage) < order.index(gone[i])]
            replies = {i: self.clients[i].handle(requests[i]) for i in present}
            for i, messages in replies.items():
                for message in messages:
                    self.server.receive(i, message)
            self.server.advance()
            stages.append(
                {
                    "stage": stage,
                    "requests": {str(i): data.hex() for i, data in requests.items()},
                    "replies": {str(i): [data.hex() for data in replies[i]] for i in replies},
                }
            )
        cohort = self.server.cohort
        assert cohort is not None
        mask_keys: dict[str, str] = {}
        for i in self.server.u3:
            mask_keys |= self.clients[i].used_mask_keys
        self.rounds.append(
            {
                "round": number,
                "context": context.hex(),
                "invite": sorted(self.clients) if invite is None else invite,
                "prepare": prepare,
                "vectors": {str(i): x for i, x in vectors.items()},
                "session": cohort.session.hex(),
                "cohort": cohort.hash.hex(),
                "mask_keys": dict(sorted(mask_keys.items())),
                "stages": stages,
                "survivors": self.server.u3,
                "sums": self.server.sums,
            }
        )
        if self.setting.levels:
            secrets = {str(i): secret.hex() for i, secret in self.server.level_secrets.items()}
            level = self.setting.level(len(self.server.u3))
            self.rounds[-1] |= {"level": level, "level_secrets": secrets}
        return self

    def draw(self, number: int, i: int) -> reference.Vectors:
        """A client's vectors of a round."""
        return {
            name: [
                int.from_bytes(bytes.fromhex(tag(self.name, number, i, name, k))[:8], "big") % 2**b
                for k in range(d)
            ]
            for name, (b, d) in self.setting.sizes.items()
        }

    def case(self) -> Case:
        """The whole run as it is published."""
        entropy = {str(i): key for i, key in self.entropy.items()}
        head = {"about": self.about, "version": 2, "setting": self.inputs, "entropy": entropy}
        return {**head, "rounds": self.rounds}

    def request(self, stage: str, i: int, position: int = -1) -> Message:
        """What client i was asked in a stage of the last round played, or of another."""
        return unpack_message(bytes.fromhex(self._stage(stage, position)["requests"][str(i)]))

    def reply(self, stage: str, i: int, message: int = 0, position: int = -1) -> Message:
        """One of the messages that client i answered in a stage of the last round played, or of another."""
        return unpack_message(bytes.fromhex(self._stage(stage, position)["replies"][str(i)][message]))

    def _stage(self, name: str, position: int) -> Case:
        return next(stage for stage in self.rounds[position]["stages"] if stage["stage"] == name)

    def to_client(
        self, i: int, stage: str, message: Any, error: str, about: str, *, position: int = -1
    ) -> Case:
        """Client i has answered what came before ``stage`` ('end': all), and is then given ``message``."""
        return self._fault(position, stage, message, error, about) | {"client": i}

    def to_server(
        self,
        i: int,
        stage: str,
        message: Any,
        error: str,
        about: str,
        *,
        heard: int = 0,
        closing: bool = False,
        position: int = -1,
    ) -> Case:
        """The server has heard the others, and ``heard`` messages of client i, in ``stage``, then this."""
        fault = self._fault(position, stage, message, error, about)
        return fault | {"from": i, "heard": heard, "at_closing": closing}

    def _fault(self, position: int, stage: str, message: Any, error: str, about: str) -> Case:
        number = self.rounds[position]["round"]
        run = f"secagg_round_{self.name}"
        place = {"run": run, "round": number, "stage": stage}
        return {"about": about, "version": 2, **place, "message": _bytes(message).hex(), "error": error}


def _bytes(message: Any) -> bytes:
    return message if isinstance(message, bytes) else pack_message(message)
