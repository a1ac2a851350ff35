"""``[peft]``: every method's own options, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest
from parties.client_run import client_config
from parties.small_images import image_config
from parties.small_run import small_config

from fedpriv.errors import ConfigError
from fedpriv.federation.config import Config, load
from fedpriv.peft import METHODS, NEVER_EXACT, PeftSpec

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
    "ranks": [2, 8],
    "density": 0.5,
    "directions": 3,
    "perturbation": 0.5,
}


def config_of(folder: Path, method: str, **changes: object) -> Config:
    """A configuration of the records that the method is for."""
    if METHODS[method].personal:
        return client_config(folder, peft={"method": method}, **changes)
    made = image_config if method == "deep-prompt" else small_config
    return made(folder, peft__method=method, **changes)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_takes_its_own_options_and_refuses_others_by_name(tmp_path: Path, method: str) -> None:
    own = METHODS[method].options
    for key, value in VALUES.items():
        given = {f"peft__{key}": value}
        if key == "feedforward_modules":
            given["peft__target_modules"] = ["query"]
        if key in own:
            spec = config_of(tmp_path, method, **given).peft.spec(4)
            assert spec.seed == 4
            assert getattr(spec, key) == (tuple(value) if isinstance(value, list) else value)
        else:
            with pytest.raises(ConfigError) as refused:
                config_of(tmp_path, method, **given)
            assert refused.value.key in (f"peft.{key}", "peft.target_modules")
            assert all(option in refused.value.hint for option in own)


@pytest.mark.parametrize("method", METHODS)
def test_defaults_are_written_out_and_read_back_as_they_were(tmp_path: Path, method: str) -> None:
    config = config_of(tmp_path, method)
    assert config.peft.spec(0) == PeftSpec(method)
    written = config.to_dict()["peft"]
    assert all(written[key] == value for key, value in METHODS[method].options.items() if value is not None)
    (tmp_path / "again.toml").write_text(config.to_toml())
    again = load(tmp_path / "again.toml")
    assert again == config
    assert again.digest() == config.digest()


@pytest.mark.parametrize(
    ("method", "layers"), [("lora", None), ("ffa-lora", [-1]), ("bitfit", [-1]), ("head", None)]
)
def test_options_of_other_methods_are_not_in_what_is_agreed_on(
    tmp_path: Path, method: str, layers: list[int] | None
) -> None:
    """So that a method that comes later changes no digest of what ran before."""
    given = {"peft__layers": layers} if layers else {}
    written = small_config(tmp_path, peft__method=method, **given).to_dict()
    assert written["peft"] == {"method": method, "rank": 8, "alpha": 16.0} | (
        {"layers": layers} if layers else {}
    )
    assert "compression" not in written
    assert "epsilon" not in written["server"]


@pytest.mark.parametrize("method", NEVER_EXACT)
def test_methods_that_cannot_be_had_are_refused_with_the_nearest(tmp_path: Path, method: str) -> None:
    with pytest.raises(ConfigError) as refused:
        small_config(tmp_path, peft__method=method)
    assert refused.value.key == "peft.method"
    assert "summed securely" in str(refused.value)
    assert any(name in refused.value.hint for name in METHODS)


def test_a_method_nobody_knows_is_refused_with_all_that_there_are(tmp_path: Path) -> None:
    for wrong in ("loar", 7):
        with pytest.raises(ConfigError, match="'fed-sb'") as refused:
            small_config(tmp_path, peft__method=wrong)
        assert refused.value.key == "peft.method"


def test_feedforward_modules_need_the_targets_that_they_are_among(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is set without"):
        small_config(tmp_path, peft__method="ia3", peft__feedforward_modules=["output.dense"])
