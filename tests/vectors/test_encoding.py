"""Package and reference against the published rotations."""

from __future__ import annotations

import json

import numpy as np
from vectors.encoding_vectors import PATH, ROUND_PATH, rotation, round_rotation

from fedpriv.encoding import Rotation
from fedpriv.federation.work.rotation import RoundRotation


def test_the_reference_still_gives_the_published_rotations() -> None:
    published, made = json.loads(PATH.read_text()), rotation()
    for old, new in zip(published["cases"], made["cases"], strict=True):
        assert (old["words"], old["vector"]) == (new["words"], new["vector"])
        assert np.allclose(np.array(old["image"], float), np.array(new["image"], float), atol=1e-9)


def test_the_package_rotates_as_published_and_back() -> None:
    for case in json.loads(PATH.read_text())["cases"]:
        words = np.array([int(word) for word in case["words"]], dtype=np.uint64)
        turn = Rotation.draw(len(case["vector"]), lambda n, w=words: w[:n])
        image = turn.rotate(np.array(case["vector"], dtype=np.float64))
        assert np.allclose(image, np.array(case["image"], float), atol=1e-9)
        assert np.allclose(turn.inverse(image), case["vector"], atol=1e-9)


def test_the_reference_still_gives_the_published_rotations_of_rounds() -> None:
    published, made = json.loads(ROUND_PATH.read_text()), round_rotation()
    assert len(published["cases"]) == len(made["cases"])
    for old, new in zip(published["cases"], made["cases"], strict=True):
        assert all(old[name] == new[name] for name in ("seed", "round", "vector"))
        assert np.allclose(np.array(old["image"], float), np.array(new["image"], float), atol=1e-9)


def test_the_package_turns_a_round_as_published_and_back() -> None:
    for case in json.loads(ROUND_PATH.read_text())["cases"]:
        vector = np.array(case["vector"], dtype=np.float64)
        rotation_ = RoundRotation(seed=int(case["seed"]), dimension=vector.size, rotated=True)
        turn = rotation_.at(case["round"])
        assert turn is not None
        image = turn.rotate(vector)
        assert np.allclose(image, np.array(case["image"], float), atol=1e-9)
        assert np.allclose(rotation_.back(case["round"], image), vector, atol=1e-9)
