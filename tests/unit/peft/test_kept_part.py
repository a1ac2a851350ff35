"""What a client keeps is a file that shows damage, and joins the shared adapter to one that loads."""

from __future__ import annotations

import json
import stat

import numpy as np
import peft
import pytest
import torch

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.peft import METHODS, KeptPart, Manifest, PeftSpec, attach, digest_of, join, load, read, save

SPEC = PeftSpec("fedsa-lora", rank=2, seed=4)
LABELS = ("a", "b", "c")


@pytest.fixture
def shared(tiny, tmp_path):
    """The model of a server that has trained A and the head, and the folder of its adapter."""
    model = attach(tiny("bert"), SPEC)
    manifest = Manifest.of(model)
    moved = manifest.flatten(model)
    travels = ~SPEC.kind.keeps(manifest, SPEC)
    moved[travels] += 0.3 * np.random.default_rng(1).standard_normal(int(travels.sum())).astype(np.float32)
    manifest.restore(model, moved)
    save(model, SPEC, manifest, tmp_path / "adapter", base_model="tiny", labels=LABELS)
    return model, tmp_path / "adapter"


def part_of(manifest, *, spec=SPEC, seed=2, round_=7):
    kept = spec.kind.keeps(manifest, spec)
    values = np.random.default_rng(seed).standard_normal(int(kept.sum())).astype(np.float32)
    return KeptPart.of(manifest, spec, round_, values)


def test_a_and_the_head_travel_and_b_is_kept(tiny):
    manifest = Manifest.of(attach(tiny("bert"), SPEC))
    kept = SPEC.kind.keeps(manifest, SPEC)
    travels = SPEC.kind.coordinates(manifest, SPEC, 3, manifest.flatten(attach(tiny("bert"), SPEC)))
    assert np.array_equal(np.flatnonzero(~kept), travels)
    assert SPEC.kind.width(manifest, SPEC) == travels.size
    of = dict(zip((e.name for e in manifest.entries), manifest.offsets, strict=True))
    assert {name for name, start in of.items() if kept[start]} == {n for n in of if "lora_B" in n}
    assert any("classifier" in name for name, start in of.items() if start in travels)
    assert [name for name, method in METHODS.items() if method.personal] == ["fedsa-lora"]
    others = [PeftSpec(name) for name in METHODS if name != "fedsa-lora"]
    assert all(spec.kind.keeps(manifest, spec) is None for spec in others)


def test_a_part_is_read_as_it_was_written_and_the_same_part_is_the_same_bytes(shared):
    manifest = Manifest.of(shared[0])
    part = part_of(manifest)
    again = KeptPart.decode(part.encode())
    assert (again.spec, again.manifest_digest, again.round) == (SPEC, manifest.digest(), 7)
    assert again.values().tobytes() == part.values().tobytes()
    assert {name: t.shape for name, t in again.tensors.items()} == {
        entry.name: entry.shape for entry in manifest.entries if "lora_B" in entry.name
    }
    assert len({part_of(manifest).encode() for _ in range(5)}) == 1


def test_any_changed_byte_and_any_cut_is_noticed(shared):
    content = part_of(Manifest.of(shared[0])).encode()
    header = int.from_bytes(content[:8], "little") + 8
    places = {*range(0, header, 7), *range(header, len(content), 61), len(content) - 1}
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1
        try:
            decoded = KeptPart.decode(bytes(damaged))
        except IntegrityError:
            continue
        # A space in JSON may become something that means the same; values never.
        assert decoded.encode() == content
    for length in (0, 5, 8, header - 1, header, len(content) - 1):
        with pytest.raises(IntegrityError, match="damaged"):
            KeptPart.decode(content[:length])


def test_a_method_that_keeps_nothing_has_no_part(tiny):
    spec = PeftSpec("lora", rank=2)
    manifest = Manifest.of(attach(tiny("bert"), spec))
    with pytest.raises(UsageError, match="does not keep"):
        KeptPart.of(manifest, spec, 1, np.zeros(3, dtype=np.float32))


# peft 0.21 asks transformers 5 for a property under its old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_the_joined_adapter_is_the_clients_own_model_and_loads_with_peft_alone(
    shared, tiny, logits, tmp_path
):
    model, adapter = shared
    manifest, before = Manifest.of(model), digest_of(adapter)
    part = part_of(manifest)
    server = logits(model)
    assert torch.equal(server, logits(load(tiny("bert"), adapter)))
    assert join(adapter, part, tmp_path / "own") == digest_of(tmp_path / "own")
    own = manifest.flatten(model)
    own[SPEC.kind.keeps(manifest, SPEC)] = part.values()
    manifest.restore(model, own)
    expected = logits(model)
    assert not torch.allclose(expected, server, atol=1e-3)
    loaded = load(tiny("bert"), tmp_path / "own")
    assert manifest.flatten(loaded).tobytes() == own.tobytes()
    assert torch.equal(logits(loaded), expected)
    alone = peft.PeftModel.from_pretrained(tiny("bert"), tmp_path / "own").eval()
    assert torch.equal(logits(alone), expected)
    assert read(tmp_path / "own") == read(adapter)
    assert digest_of(adapter) == before
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "own").iterdir()]
    assert modes == [0o600] * 3
    assert stat.S_IMODE((tmp_path / "own").stat().st_mode) == 0o700


def test_parts_of_another_model_and_folders_in_use_are_refused(shared, tiny, tmp_path):
    model, adapter = shared
    other_seed = PeftSpec("fedsa-lora", rank=2, seed=5)  # the same manifest, with another A
    wider = PeftSpec("fedsa-lora", rank=3, seed=4)
    for spec in (other_seed, wider):
        part = part_of(Manifest.of(attach(tiny("bert"), spec)), spec=spec)
        with pytest.raises(UsageError, match="of different models"):
            join(adapter, part, tmp_path / "own")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("mine")
    with pytest.raises(UsageError, match="not an empty folder"):
        join(adapter, part_of(Manifest.of(model)), tmp_path / "full")
    assert not (tmp_path / "own").exists()
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["note"]


def test_an_adapter_that_is_not_whole_is_refused(shared, tmp_path):
    model, adapter = shared
    part, state = part_of(Manifest.of(model)), adapter / "adapter_model.safetensors"
    content = state.read_bytes()
    state.write_bytes(content[: len(content) // 2])
    with pytest.raises(IntegrityError, match="is damaged"):
        join(adapter, part, tmp_path / "own")
    state.unlink()
    with pytest.raises(IntegrityError, match="holds no parameters"):
        join(adapter, part, tmp_path / "own")
    record = json.loads((adapter / "fedpriv.json").read_text())
    (adapter / "fedpriv.json").write_text(json.dumps({**record, "more": 1}))
    with pytest.raises(IntegrityError, match="not a fedpriv adapter's record"):
        join(adapter, part, tmp_path / "own")
    assert not (tmp_path / "own").exists()
