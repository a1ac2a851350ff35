"""The cases in which a message must be refused, each made from an honest run of the reference."""

from __future__ import annotations

import copy
from typing import Any

from reference.secagg_primitives import (
    N,
    P,
    frame,
    set_bytes,
    set_members,
    sign,
    tree_path,
    x25519_public,
)
from reference.secagg_wire import Message, pack_message
from vectors.secagg_play import Case, Play

_Named = list[tuple[str, Case]]
SEED = bytes(range(32))
OTHER_KEY = x25519_public(SEED)


def bad(plays: dict[str, Play]) -> dict[str, Case]:
    """All cases by their name, with the clause that the last message breaks ('decode': no message).

    Each departs from one of the honest ``plays``.
    """
    play, prepared, sparse = plays["widths"], plays["prepared"], plays["sparse"]
    cases = [
        *_bytes(play),
        *_keys(play),
        *_shares(play),
        *_survivors(play),
        *_signatures(play),
        *_ahead(prepared),
        *_rejoined(prepared),
        *_graph(sparse),
        *_neighbours(sparse),
        *_semi_honest(plays["semi_honest"]),
        *_replies(play),
        *_parts(play),
        *_headers(play, prepared, sparse),
        *_revealed(play),
        *_levels(plays["levels"], play),
    ]
    return {f"secagg_bad_{name}": case for name, case in cases}


def _signed(play: Play, bundle: Message, number: int = 7) -> Message:
    """The bundle with the signature that its client would have made."""
    seed = play.setting.identities[bundle["client"]]
    return {**bundle, "signature": sign(seed, f"{N} bundle", play.setting.statement(number, bundle))}


def _with_bundles(message: Message, bundles: list[Message], **view: Any) -> Message:
    return {**message, "view": {**message["view"], "bundles": bundles, **view}}


def _flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def _bytes(play: Play) -> _Named:
    first = play.request("advertise", 1)
    data, session = pack_message(first), first["session"]
    reordered = {"type": first["type"], "version": 1, "session": session}
    survivors = play.request("consistency", 1)
    share, upload = play.request("share", 1), play.request("upload", 1)
    long = {**share, "view": {**share["view"], "paths": [bytes(8192)]}}
    cases: list[tuple[str, str, Any, str, str]] = [
        ("trailing_byte", "advertise", data + b"\0", "decode", "A byte after the message."),
        ("truncated", "advertise", data[:-1], "decode", "The last byte is missing."),
        ("empty", "advertise", b"", "decode", "No bytes."),
        ("unknown_field", "advertise", {**first, "x": 1}, "decode", "A field that is not in the schema."),
        ("missing_field", "advertise", {"type": first["type"], "session": session}, "decode", "No version."),
        ("field_order", "advertise", reordered, "decode", "The fields in another order."),
        ("long_integer", "advertise", data[:-1] + b"\xcc\x01", "decode", "1 in two bytes."),
        ("version", "advertise", {**first, "version": 2}, "decode", "Another protocol version."),
        ("short_session", "advertise", {**first, "session": session[:31]}, "decode", "31 bytes."),
        ("too_long", "share", long, "decode", "Longer than any request."),
        ("number_for_bool", "upload", {**upload, "prepare": 0}, "decode", "A number where a bool belongs."),
        (
            "set_padding",
            "consistency",
            {**survivors, "survivors": b"\x27"},
            "decode",
            "A sixth client of five.",
        ),
        ("set_length", "consistency", {**survivors, "survivors": b"\x07\0"}, "decode", "A set of two bytes."),
        ("session", "advertise", {**first, "session": bytes(32)}, "SA-4", "A message of another session."),
        ("order", "advertise", share, "SA-15", "The second request comes first."),
        ("repeat", "share", first, "SA-15", "The first request comes again."),
    ]
    return [
        (name, play.to_client(1, stage, message, error, about))
        for name, stage, message, error, about in cases
    ]


def _keys(play: Play) -> _Named:
    request = play.request("share", 1)
    bundles = request["view"]["bundles"]

    def changed(i: int, **fields: Any) -> Message:
        made = copy.deepcopy(bundles)
        made[i - 1] = _signed(play, {**made[i - 1], **fields})
        return _with_bundles(request, made)

    def unsigned(i: int, **fields: Any) -> Message:
        made = copy.deepcopy(bundles)
        made[i - 1] = {**made[i - 1], **fields}
        return _with_bundles(request, made)

    def members(*chosen: int) -> bytes:
        return set_bytes(list(chosen), 5)

    second, third = bundles[1]["mask_key"], bundles[2]["mask_key"]
    top_bit = second[:31] + bytes([second[31] | 0x80])
    order_eight = bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")
    missing = _with_bundles(request, bundles[1:], members=members(2, 3, 4))
    few = _with_bundles(request, bundles[:2], members=members(1, 2))
    incomplete = _with_bundles(request, bundles[:3])
    paths = _with_bundles(request, bundles, paths=[bytes(32)])
    cases = [
        ("substituted_key", unsigned(2, mask_key=OTHER_KEY), "SA-1", "A mask key not signed for."),
        ("substituted_commitment", unsigned(2, seed_commitment=bytes(32)), "SA-1", "Not signed for."),
        ("substituted_previous", unsigned(2, previous=bytes([1] * 32)), "SA-1", "Not signed for."),
        ("zero_key", changed(2, mask_key=bytes(32)), "SA-1", "A mask key of low order, well signed."),
        ("low_order_key", changed(2, cipher_key=order_eight), "SA-1", "A key of order eight, well signed."),
        ("second_encoding", changed(2, mask_key=top_bit), "SA-1", "A key with its top bit set, well signed."),
        ("duplicate_key", changed(2, mask_key=third), "SA-1", "Another client's mask key, well signed."),
        ("one_key_for_both", changed(2, cipher_key=second), "SA-1", "One key for both uses, well signed."),
        ("unknown_client", unsigned(4, client=9), "SA-1", "A client that is not in the roster."),
        ("own_keys_changed", changed(1, mask_key=OTHER_KEY), "SA-1", "The receiver's own keys, changed."),
        ("own_keys_missing", missing, "SA-1", "The receiver is left out."),
        ("few_advertised", few, "SA-9", "Fewer than are needed for a sum."),
        ("bundle_left_out", incomplete, "SA-17", "The keys of a member are not shown."),
        ("path_on_complete_graph", paths, "SA-17", "A path where all keys are shown."),
        ("unordered", _with_bundles(request, bundles[::-1]), "decode", "The list descends."),
        ("client_twice", _with_bundles(request, bundles[:2] * 2), "decode", "Clients stand twice."),
    ]
    return [
        (name, play.to_client(1, "share", message, error, about)) for name, message, error, about in cases
    ]


def _shares(play: Play) -> _Named:
    upload = play.request("upload", 1)
    shares, view = upload["shares"], play.request("share", 1)["view"]
    (second, sealed), (third, other), last = shares
    cases = [
        ("sealed_shares", {"shares": [[second, _flipped(sealed)], *shares[1:]]}, "SA-7", "A bit is flipped."),
        ("shares_of_another", {"shares": [[second, other], [third, other], last]}, "SA-7", "3's as 2's."),
        ("shares_kept_back", {"shares": shares[1:]}, "SA-7", "The shares of client 2 are missing."),
        ("shares_from_nobody", {"shares": [*shares, [5, sealed]]}, "SA-1", "From one outside the cohort."),
        ("shares_from_itself", {"shares": [[1, sealed], *shares]}, "SA-1", "From the receiver."),
        (
            "early_unmade",
            {"shares": shares[1:], "early": shares[:1]},
            "SA-1",
            "Dealt within, shown as early.",
        ),
        ("few_sharers", {"sharers": b"\x03", "shares": shares[:1]}, "SA-9", "Fewer than are needed."),
        ("sharer_unknown", {"sharers": b"\x1f"}, "SA-1", "One that never advertised shared."),
        ("sharers_without_receiver", {"sharers": b"\x0e"}, "SA-1", "The receiver did not share."),
        ("view_again", {"view": view}, "SA-17", "The cohort is shown a second time."),
    ]
    return [
        (name, play.to_client(1, "upload", {**upload, **change}, error, about))
        for name, change, error, about in cases
    ]


def _survivors(play: Play) -> _Named:
    consistency, unmask = play.request("consistency", 1), play.request("unmask", 1)

    def survivors(*chosen: int) -> dict[str, bytes]:
        return {"survivors": set_bytes(list(chosen), 5)}

    def dropped(*chosen: int) -> dict[str, bytes]:
        return {"dropped": set_bytes(list(chosen), 5)}

    early = [
        ("told_dead", survivors(2, 3, 4), "SA-3", "The receiver is said to have dropped."),
        ("survivor_unknown", survivors(1, 2, 3, 5), "SA-3", "One that never shared is alive."),
        ("few_survivors", survivors(1, 2), "SA-9", "Fewer than are needed for a sum."),
    ]
    late = [
        ("alive_and_dead", {**survivors(1, 2, 3), **dropped(3, 4)}, "SA-3", "Client 3 in both lists."),
        ("told_dead_late", {**survivors(2, 3, 4), **dropped(1)}, "SA-3", "The receiver has dropped."),
        ("dropped_left_out", dropped(), "SA-3", "The lists are not all the sharers."),
        ("other_survivors", {**survivors(1, 2, 3, 4), **dropped()}, "SA-2", "Not the list that was signed."),
    ]
    cases = [
        (name, play.to_client(1, "consistency", {**consistency, **change}, error, about))
        for name, change, error, about in early
    ]
    cases += [
        (name, play.to_client(1, "unmask", {**unmask, **change}, error, about))
        for name, change, error, about in late
    ]
    return cases


def _signatures(play: Play) -> _Named:
    unmask = play.request("unmask", 1)
    first, second, third = unmask["signatures"]
    cohort = play.clients[1].cohort
    assert cohort is not None
    statement = cohort.consistency([1, 2, 3, 4], [1, 2, 3])
    dropped = [4, sign(play.setting.identities[4], f"{N} consistency", statement)]
    stranger = [5, sign(play.setting.identities[5], f"{N} consistency", statement)]
    cases: list[tuple[str, list[Any], str]] = [
        ("few_signatures", [first, second], "Two of three."),
        ("forged_signature", [first, [2, second[1][::-1]], third], "Not a signature."),
        ("borrowed_signature", [first, [2, first[1]], third], "One client's in another's name."),
        ("signature_of_dropped", [first, second, dropped], "A true one, of a client that dropped."),
        ("signature_of_stranger", [first, second, third, stranger], "A true one, from outside the cohort."),
    ]
    again = play.to_client(1, "end", unmask, "SA-15", "The unmask request comes again.")
    made = [
        (name, play.to_client(1, "unmask", {**unmask, "signatures": listed}, "SA-2", about))
        for name, listed, about in cases
    ]
    return [*made, ("second_answer", again)]


def _ahead(play: Play) -> _Named:
    """Client 1 made its keys in round 4 and is shown the cohort of round 5 with the upload request."""
    upload, stale = play.request("upload", 1, 1), play.request("upload", 1, 0)
    bundles, early = upload["view"]["bundles"], upload["early"]
    old = play.request("share", 1, 0)["view"]["bundles"]
    other = _signed(play, {**bundles[1], "previous": bytes([1] * 32)}, 5)
    source, sealed = early[0]
    cases: list[tuple[str, Message, str, str]] = [
        ("previous_disagrees", _with_bundles(upload, [bundles[0], other, *bundles[2:]]), "SA-6", "By one."),
        (
            "stale_keys",
            _with_bundles(upload, [bundles[0], old[1], *bundles[2:]]),
            "SA-1",
            "Of the last round.",
        ),
        ("stale_own_keys", _with_bundles(upload, [old[0], *bundles[1:]]), "SA-1", "Of the last round."),
        ("stale_request", stale, "SA-4", "The upload request of the round before."),
        ("view_missing", {**upload, "view": None}, "SA-17", "The cohort is never shown."),
        (
            "early_shares",
            {**upload, "early": [[source, _flipped(sealed)], *early[1:]]},
            "SA-7",
            "A flipped bit.",
        ),
        ("early_kept_back", {**upload, "early": early[1:]}, "SA-7", "The shares of client 2 are missing."),
        (
            "early_as_late",
            {**upload, "shares": [early[0], *upload["shares"]], "early": early[1:]},
            "SA-1",
            "Dealt ahead, shown as dealt within the round.",
        ),
    ]
    return [
        (name, play.to_client(1, "upload", message, error, about, position=1))
        for name, message, error, about in cases
    ]


def _rejoined(play: Play) -> _Named:
    """Client 4 was in the cohort of round 4, was lost, and joins round 5 with new keys."""
    share, upload = play.request("share", 4, 1), play.request("upload", 4, 1)
    bundles = share["view"]["bundles"]
    forked = [_signed(play, {**bundle, "previous": bytes([1] * 32)}, 5) for bundle in bundles[:3]]
    of_another = _with_bundles(share, [*forked, *bundles[3:]])
    source, sealed = upload["early"][0]
    broken = {**upload, "early": [[source, _flipped(sealed)], *upload["early"][1:]]}
    about = "They agree on a round before this one that is not the receiver's."
    return [
        ("previous_of_another", play.to_client(4, "share", of_another, "SA-6", about, position=1)),
        ("early_shares_rejoined", play.to_client(4, "upload", broken, "SA-7", "A flipped bit.", position=1)),
    ]


def _graph(play: Play) -> _Named:
    request = play.request("share", 2)
    view, cohort = request["view"], play.server.cohort
    assert cohort is not None
    bundles, paths = view["bundles"], view["paths"]
    stranger = next(j for j in cohort.members if j not in [bundle["client"] for bundle in bundles])
    shown = sorted([stranger, *(bundle["client"] for bundle in bundles[:1] + bundles[2:])])
    swapped = {
        "bundles": [cohort.bundles[j] for j in shown],
        "paths": [tree_path(play.server.leaves, cohort.members.index(j)) for j in shown],
    }
    outside = set_bytes([j for j in cohort.members if j != bundles[-1]["client"]], 9)
    ahead = [bundles[0], _signed(play, {**bundles[1], "previous": bytes([1] * 32)}), *bundles[2:]]
    cases: list[tuple[str, Message, str, str]] = [
        ("merkle_path", {"paths": [*paths[:-1], _flipped(paths[-1])]}, "SA-17", "A path to another root."),
        ("merkle_path_length", {"paths": [*paths[:-1], paths[-1] + bytes(32)]}, "SA-17", "A level too many."),
        ("merkle_path_missing", {"paths": paths[:-1]}, "SA-17", "One path too few."),
        ("other_neighbours", swapped, "SA-17", "Another member in the place of a neighbour."),
        ("neighbour_hidden", {"bundles": bundles[:-1], "paths": paths[:-1]}, "SA-17", "One of four missing."),
        ("members_changed", {"members": set_bytes(cohort.members[:-1], 9)}, "SA-17", "A member left out."),
        ("neighbour_no_member", {"members": outside}, "SA-17", "A client shown is not in the set."),
        ("few_members", {"members": set_bytes(cohort.members[:5], 9)}, "SA-9", "Fewer than m."),
        ("ahead_on_sparse_graph", {"bundles": ahead}, "SA-6", "Keys made ahead, well signed."),
    ]
    return [
        (name, play.to_client(2, "share", {**request, "view": {**view, **changes}}, error, about))
        for name, changes, error, about in cases
    ]


def _neighbours(play: Play) -> _Named:
    upload, consistency, unmask = (play.request(stage, 2) for stage in ("upload", "consistency", "unmask"))
    client = play.clients[2]
    assert client.cohort is not None
    near, u2, u3 = client.cohort.neighbours(2), client.u2, client.u3
    uploads = consistency["uploads"]
    left = [j for j in u2 if j not in near[:2]]
    alone = {"sharers": set_bytes(left, 9), "shares": [row for row in upload["shares"] if row[0] in left]}
    fewer = [j for j in u2 if j != near[0]]
    other_list = sign(play.setting.identities[uploads[0][0]], f"{N} sharers", client.cohort.sharers(fewer))
    gone = [j for j in set_members(consistency["survivors"], 9) if j not in near[:2]]
    lonely = {"survivors": set_bytes(gone, 9), "uploads": [row for row in uploads if row[0] in gone]}
    far = next(j for j in u3 if j != 2 and j not in near)
    statement = client.cohort.consistency(u2, u3)
    distant = [far, sign(play.setting.identities[far], f"{N} consistency", statement)]
    mixed = sorted([*unmask["signatures"], distant])
    cases: list[tuple[str, str, Message, str, str]] = [
        ("few_neighbours_shared", "upload", {**upload, **alone}, "SA-9", "Two of four neighbours."),
        ("prepare_on_sparse_graph", "upload", {**upload, "prepare": True}, "SA-15", "Nothing is prepared."),
        ("few_neighbours_alive", "consistency", {**consistency, **lonely}, "SA-9", "Too few neighbours."),
        ("upload_unshown", "consistency", {**consistency, "uploads": uploads[1:]}, "SA-2", "One is missing."),
        (
            "upload_under_other_list",
            "consistency",
            {**consistency, "uploads": [[uploads[0][0], other_list], *uploads[1:]]},
            "SA-2",
            "A neighbour uploaded under another list of those that shared.",
        ),
        ("distant_signature", "unmask", {**unmask, "signatures": mixed}, "SA-2", "Of no neighbour."),
    ]
    return [
        (name, play.to_client(2, stage, message, error, about))
        for name, stage, message, error, about in cases
    ]


def _semi_honest(play: Play) -> _Named:
    unmask = play.request("unmask", 1)
    asked = {"type": "consistency-request", "session": unmask["session"], "version": 1}
    list_ = {**asked, "survivors": unmask["survivors"], "uploads": []}
    signed = {**unmask, "signatures": [[2, bytes(64)]]}
    return [
        (
            "unasked_signatures",
            play.to_client(1, "unmask", signed, "SA-2", "Signatures in semi-honest mode."),
        ),
        ("unasked_consistency", play.to_client(1, "unmask", list_, "SA-15", "A stage of the other mode.")),
    ]


def _replies(play: Play) -> _Named:
    keys, shares, signed = (play.reply(stage, 2) for stage in ("advertise", "share", "consistency"))
    taken = play.reply("advertise", 3)["bundle"]["mask_key"]

    def bundle(**fields: Any) -> Message:
        return {**keys, "bundle": _signed(play, {**keys["bundle"], **fields})}

    borrowed = {**signed, "signature": play.reply("consistency", 1)["signature"]}
    late = {
        **play.reply("advertise", 1),
        "sender": 5,
        "bundle": _signed(play, {**keys["bundle"], "client": 5}),
    }
    server = play.to_server
    return [
        ("keys_of_another", server(2, "advertise", bundle(client=5), "SA-1", "Client 5's in 2's message.")),
        ("keys_taken", server(2, "advertise", bundle(mask_key=taken), "SA-1", "A key of client 3.")),
        ("keys_of_low_order", server(2, "advertise", bundle(mask_key=bytes(32)), "SA-1", "The zero key.")),
        ("keys_ahead_of_nothing", server(2, "advertise", bundle(previous=SEED), "SA-6", "Not asked for.")),
        ("reply_session", server(2, "advertise", {**keys, "session": bytes(32)}, "SA-4", "Another session.")),
        ("reply_order", server(2, "advertise", shares, "SA-15", "The second reply comes first.")),
        ("sender", server(2, "advertise", play.reply("advertise", 1), "SA-15", "In the name of client 1.")),
        ("repeat_reply", server(2, "advertise", keys, "SA-15", "The reply comes again.", heard=1)),
        ("late_reply", server(5, "share", late, "SA-15", "Keys after the stage has closed.")),
        (
            "not_asked",
            server(5, "share", {**shares, "sender": 5}, "SA-15", "From one that did not advertise."),
        ),
        (
            "destination_left_out",
            server(2, "share", {**shares, "shares": shares["shares"][1:]}, "SA-16", "Nothing for client 1."),
        ),
        (
            "destination_unknown",
            server(2, "share", {**shares, "shares": [*shares["shares"], [5, bytes(94)]]}, "SA-16", "For 5."),
        ),
        ("survivor_signature", server(2, "consistency", borrowed, "SA-2", "Another client's signature.")),
    ]


def _parts(play: Play) -> _Named:
    header, first, second, _, last = (play.reply("upload", 2, position) for position in range(5))
    padded = first["data"][:-1] + bytes([first["data"][-1] | 0x80])
    longer = first["data"] + b"\0"
    cases: list[tuple[str, Message, str, str, int]] = [
        ("header_twice", header, "SA-15", "The header comes again.", 1),
        ("part_first", first, "SA-16", "A part before the header.", 0),
        ("part_order", second, "SA-16", "The second part comes first.", 1),
        ("part_repeated", first, "SA-16", "The first part comes again.", 2),
        ("part_superfluous", {**last, "part": 4}, "SA-15", "A fifth part of four.", 5),
        ("upload_length", {**first, "data": longer}, "SA-8", "A byte too many.", 1),
        ("upload_empty", {**first, "data": b""}, "SA-8", "No values.", 1),
        ("upload_padding", {**first, "data": padded}, "SA-8", "A bit of the padding is set.", 1),
    ]
    return [
        (name, play.to_server(2, "upload", message, error, about, heard=heard))
        for name, message, error, about, heard in cases
    ]


def _headers(play: Play, prepared: Play, sparse: Play) -> _Named:
    plain, made, signed = (of.reply("upload", 2, 0, 0) for of in (play, prepared, sparse))
    keys, bundle = play.reply("advertise", 2)["bundle"], made["bundle"]
    cases: list[tuple[str, Play, Message, str, str]] = [
        ("header_unasked", play, {**plain, "bundle": keys}, "SA-16", "Nothing is prepared."),
        ("header_shares", play, {**plain, "shares": made["shares"]}, "SA-16", "Shares of no keys."),
        ("header_without_keys", prepared, {**made, "bundle": None, "shares": []}, "SA-16", "Asked for them."),
        ("header_destination", prepared, {**made, "shares": made["shares"][1:]}, "SA-16", "Nothing for 1."),
        (
            "header_previous",
            prepared,
            {**made, "bundle": _signed(prepared, {**bundle, "previous": bytes(32)}, 5)},
            "SA-6",
            "Not bound to the round in which they are made.",
        ),
        (
            "header_round",
            prepared,
            {**made, "bundle": _signed(prepared, bundle, 6)},
            "SA-1",
            "Signed for another round than the next.",
        ),
        ("header_signature", sparse, {**signed, "signature": bytes(64)}, "SA-2", "Not a signature over U2."),
        ("header_unsigned", sparse, {**signed, "signature": None}, "SA-2", "No signature over U2."),
        ("header_signed", play, {**plain, "signature": bytes(64)}, "SA-2", "On the complete graph."),
    ]
    made_cases = []
    for name, of, message, error, about in cases:
        made_cases.append((name, of.to_server(2, "upload", message, error, about, position=0)))
    return made_cases


def _revealed(play: Play) -> _Named:
    revealed = play.reply("unmask", 2)
    shares = revealed["shares"]

    def changed(position: int, **kind: str) -> Message:
        message = copy.deepcopy(revealed)
        owner, name, share = message["shares"][position]
        value = (int.from_bytes(share, "big") + (0 if kind else 1)) % P
        message["shares"][position] = [owner, kind.get("kind", name), value.to_bytes(33, "big")]
        return message

    def listed(*rows: Any) -> Message:
        return {**revealed, "shares": list(rows)}

    large = copy.deepcopy(revealed)
    large["shares"][0][2] = P.to_bytes(33, "big")
    both = listed([1, "key", shares[0][2]], *shares)
    server = play.to_server
    return [
        ("both_kinds", server(2, "unmask", both, "decode", "Two shares of one owner.")),
        ("wrong_kind", server(2, "unmask", changed(0, kind="key"), "SA-16", "A key share of a survivor.")),
        ("share_left_out", server(2, "unmask", listed(*shares[1:]), "SA-16", "None of client 1.")),
        ("share_of_stranger", server(2, "unmask", listed(*shares, [5, "key", bytes(33)]), "SA-16", "Of 5.")),
        ("share_too_large", server(2, "unmask", large, "decode", "A share equal to the prime.")),
        ("recovered_seed", server(2, "unmask", changed(0), "SA-12", "A false share of b.", closing=True)),
        ("recovered_key", server(2, "unmask", changed(3), "SA-12", "A false share of s.", closing=True)),
    ]


def _levels(play: Play, without: Play) -> _Named:
    """In round 7 all six survive and reach level 2, in round 9 four survive and reach none."""
    revealed, none = play.reply("unmask", 2, position=0), play.reply("unmask", 2, position=2)
    advertised, sealed = play.reply("advertise", 2, position=0), play.reply("share", 2, position=0)
    plain_keys, plain_shares = without.reply("advertise", 2), without.reply("unmask", 2)
    unmask = play.request("unmask", 1, 0)
    five = {"survivors": set_bytes([1, 2, 3, 4, 5], 6), "dropped": set_bytes([6], 6)}
    names = [bytes.fromhex(play.rounds[0][name]) for name in ("session", "cohort")]
    statement = frame(*names, set_bytes([1, 2, 3, 4, 5, 6], 6), five["survivors"])
    signatures = [[j, sign(play.setting.identities[j], f"{N} consistency", statement)] for j in range(2, 6)]

    def each(message: Message, change: Any) -> Message:
        rows = [[o, kind, change(share) if kind == "seed" else share] for o, kind, share in message["shares"]]
        return {**message, "shares": rows}

    large = each(revealed, lambda share: share[:33] + P.to_bytes(33, "big"))
    bundle = dict(advertised["bundle"])
    other = {**bundle, "level_commitment": bytes(32)}
    committed = bundle.pop("level_commitment")
    unsigned = {**plain_keys["bundle"], "level_commitment": committed}
    short = {**sealed, "shares": [[j, box[:-33]] for j, box in sealed["shares"]]}
    one, three = (each(revealed, lambda share, size=size: (share * 2)[:size]) for size in (33, 99))
    cases = [
        (
            "level_share_missing",
            play,
            "unmask",
            0,
            one,
            "SA-18",
            "Shares of b alone, though a level is reached.",
        ),
        (
            "level_share_unasked",
            play,
            "unmask",
            2,
            each(none, lambda share: share + share),
            "SA-18",
            "Shares of level secrets, though none is reached.",
        ),
        ("level_share_second", play, "unmask", 0, three, "decode", "Shares of the secrets of two levels."),
        ("level_share_too_large", play, "unmask", 0, large, "decode", "A share equal to the prime."),
        (
            "level_commitment_missing",
            play,
            "advertise",
            0,
            {**advertised, "bundle": bundle},
            "decode",
            "Keys without a commitment to level secrets.",
        ),
        (
            "level_commitment_changed",
            play,
            "advertise",
            0,
            {**advertised, "bundle": other},
            "SA-1",
            "Another commitment to level secrets, not signed for.",
        ),
        (
            "level_shares_unsealed",
            play,
            "share",
            0,
            short,
            "decode",
            "Sealed shares without those of levels.",
        ),
        (
            "level_commitment_unasked",
            without,
            "advertise",
            0,
            {**plain_keys, "bundle": unsigned},
            "decode",
            "A commitment to level secrets in a session without levels.",
        ),
        (
            "level_share_without_levels",
            without,
            "unmask",
            0,
            each(plain_shares, lambda share: share + share),
            "decode",
            "Shares of level secrets in a session without levels.",
        ),
    ]
    made = [
        (name, of.to_server(2, stage, message, error, about, position=position))
        for name, of, stage, position, message, error, about in cases
    ]
    lower = {**unmask, **five}
    return [
        *made,
        (
            "level_of_fewer",
            play.to_client(1, "unmask", lower, "SA-2", "A list that reaches another level.", position=0),
        ),
        (
            "level_of_fewer_signed",
            play.to_client(
                1,
                "unmask",
                {**lower, "signatures": signatures},
                "SA-2",
                "A list that reaches another level, signed by four; the receiver signed another.",
                position=0,
            ),
        ),
        (
            "level_second",
            play.to_client(1, "end", unmask, "SA-15", "The level secrets are asked for again.", position=0),
        ),
        (
            "level_second_of_fewer",
            play.to_client(1, "end", lower, "SA-15", "Those of another level are asked for.", position=0),
        ),
    ]
