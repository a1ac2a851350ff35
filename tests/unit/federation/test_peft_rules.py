"""``[peft]``: every method's own options, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest
from parties.small_run import small_config

from fedpriv.errors import ConfigError
from fedpriv.federation.config import load
from fedpriv.peft import METHODS, NEVER_EXACT, NOT_YET, PeftSpec

VALUES = {
    "rank": 3,
    "alpha": 3.0,
    "target_modules": ["query"],
    "layers": [0],
    "placement": "houlsby",
    "bottleneck": 3,
    "virtual_tokens": 3,
    "encoder_width": 3,
    "feedforward_modules": ["query"],
}

PINNED = {
    ("lora", None): "d70b63d761b488af",
    ("ffa-lora", (-1,)): "36d986fcf6d63eb1",
    ("bitfit", (-1,)): "8b97ab99740f7747",
    ("head", None): "74adbd2872aef6ab",
}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_takes_its_own_options_and_refuses_others_by_name(tmp_path: Path, method: str) -> None:
    own = METHODS[method].options
    for key, value in VALUES.items():
        given = {"peft__method": method, f"peft__{key}": value}
        if key == "feedforward_modules":
            given["peft__target_modules"] = ["query"]
        if key in own:
            spec = small_config(tmp_path, **given).peft.spec(4)
            assert spec.seed == 4
            assert getattr(spec, key) == (tuple(value) if isinstance(value, list) else value)
        else:
            with pytest.raises(ConfigError) as refused:
                small_config(tmp_path, **given)
            assert refused.value.key in (f"peft.{key}", "peft.target_modules")
            assert all(option in refused.value.hint for option in own)


@pytest.mark.parametrize("method", METHODS)
def test_defaults_are_written_out_and_read_back_as_they_were(tmp_path: Path, method: str) -> None:
    config = small_config(tmp_path, peft__method=method)
    assert config.peft.spec(0) == PeftSpec(method)
    written = config.to_dict()["peft"]
    assert all(written[key] == value for key, value in METHODS[method].options.items() if value is not None)
    (tmp_path / "again.toml").write_text(config.to_toml())
    again = load(tmp_path / "again.toml")
    assert again == config
    assert again.digest() == config.digest()


def test_the_first_methods_keep_the_digests_of_their_configurations(tmp_path: Path) -> None:
    """A run that began before other methods came goes on."""
    for (method, layers), digest in PINNED.items():
        config = small_config(tmp_path, peft__method=method, **({"peft__layers": layers} if layers else {}))
        assert config.digest()[:16] == digest


@pytest.mark.parametrize("method", [*NEVER_EXACT, *NOT_YET])
def test_methods_that_cannot_be_had_are_refused_with_the_nearest(tmp_path: Path, method: str) -> None:
    with pytest.raises(ConfigError) as refused:
        small_config(tmp_path, peft__method=method)
    assert refused.value.key == "peft.method"
    assert ("summed securely" in str(refused.value)) == (method in NEVER_EXACT)
    assert any(name in refused.value.hint for name in METHODS)


def test_a_method_nobody_knows_is_refused_with_all_that_there_are(tmp_path: Path) -> None:
    for wrong in ("loar", 7):
        with pytest.raises(ConfigError, match="'fed-sb'") as refused:
            small_config(tmp_path, peft__method=wrong)
        assert refused.value.key == "peft.method"


def test_feedforward_modules_need_the_targets_that_they_are_among(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is set without"):
        small_config(tmp_path, peft__method="ia3", peft__feedforward_modules=["output.dense"])
