"""A curious server against one client: its update in the clear, under noise, under masks, and in the sum."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from parties.small_run import RECORDS, small_config
from scipy.special import ndtr

from fedpriv.entropy import Entropy
from fedpriv.federation.auditing.server_view import ServerView, server_view, why_no_server_view
from fedpriv.federation.auditing.watched_round import WatchedRounds
from fedpriv.federation.planning.make import make_plan
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.workplace import Workplace, prepare

if TYPE_CHECKING:
    from fedpriv.federation.cohort import Cohort
    from fedpriv.federation.round import _Parties

pytestmark = pytest.mark.slow

RATE = 0.4
SEED = 3


class WithoutMasks(WatchedRounds):
    """A broken build: the clients expand their masks, and add none."""

    def _parties(self, round_: int, cohort: Cohort) -> _Parties:
        made = WatchedRounds._parties(self, round_, cohort)
        for party in made.clients.values():
            client: Any = getattr(party.client, "client", party.client)
            client._add_masks = lambda target, masks, start=0: None
        return made


def planned(folder: Path, **changes: Any) -> tuple[Workplace, Plan]:
    """About 15 of some 38 records of a client in each of four rounds."""
    records = RECORDS * 4 // 5
    changes = {"privacy__expected_batch": RATE * records, "privacy__records": records} | changes
    work = prepare(small_config(folder, **changes))
    return work, make_plan(work.config, work)


def tried(work: Workplace, plan: Plan, build: type[WatchedRounds] = WatchedRounds) -> ServerView:
    assert why_no_server_view(work, plan) is None
    return server_view(work, plan, entropy=Entropy(SEED), build=build)


def test_a_server_reads_a_plain_update_and_is_left_guessing_under_masks(tmp_path: Path) -> None:
    work, plan = planned(tmp_path)
    before = work.manifest.flatten(work.model)
    found = tried(work, plan)
    assert np.array_equal(work.manifest.flatten(work.model), before)

    seen = found.separations
    assert seen["update"].members + seen["update"].others == 4 * max(s.size for s in work.dataset.shards)
    assert seen["update"].auc > 0.999  # a few records of this corpus are alike
    # Under masks the score is a coin of its own: 0.5 with a standard deviation of 0.048.
    assert abs(seen["received"].auc - 0.5) < 0.25
    assert seen["received"].auc_interval[0] < 0.5 < seen["received"].auc_interval[1]
    assert found.masks is not None
    assert found.masks.uniform
    # No test of one round's batch beats the Gaussian mechanism's curve: an area of Phi(1 / (z sqrt 2)).  The
    # client's own share is a part of the noise, so it hides less than the sum does.
    noise = plan.noise
    hidden = float(ndtr(noise.sensitivity / math.sqrt(2.0 * noise.sum_variance(noise.clients))))
    shared = float(ndtr(noise.sensitivity / math.sqrt(2.0 * noise.share_variance)))
    assert seen["released"].auc < hidden + 0.15
    assert 0.6 < seen["noisy"].auc < shared + 0.15
    assert seen["noisy"].auc < seen["update"].auc


def test_a_rotated_sum_is_read_in_the_models_coordinates(tmp_path: Path) -> None:
    """What is seen of a turned sum is told apart as that of one which was not; the residues stay uniform."""
    work, plan = planned(tmp_path, compression={"rotate": True})
    assert plan.rotated
    seen = (found := tried(work, plan)).separations
    assert seen["update"].auc > 0.999  # left turned, an update says nothing of whose gradients are in it
    noise = plan.noise
    hidden = float(ndtr(noise.sensitivity / math.sqrt(2.0 * noise.sum_variance(noise.clients))))
    shared = float(ndtr(noise.sensitivity / math.sqrt(2.0 * noise.share_variance)))
    assert seen["released"].auc < hidden + 0.15
    assert 0.6 < seen["noisy"].auc < shared + 0.15
    assert found.masks is not None
    assert found.masks.uniform


def test_without_masks_what_is_received_is_the_update_with_its_own_noise(tmp_path: Path) -> None:
    found = tried(*planned(tmp_path), build=WithoutMasks)
    assert found.masks is not None
    assert not found.masks.uniform
    assert found.separations["received"] == found.separations["noisy"]


@pytest.mark.parametrize("trust", ["central", "distributed"])
def test_a_plain_sum_lets_the_server_in_and_nothing_says_otherwise(tmp_path: Path, trust: str) -> None:
    found = tried(*planned(tmp_path, trust=trust, aggregator="plain"))
    assert found.masks is None
    assert ("noisy" in found.separations) is (trust == "distributed")
    unhidden = found.separations["update" if trust == "central" else "noisy"]
    assert found.separations["received"] == unhidden
    assert unhidden.auc_interval[0] > 0.5


def test_an_encrypted_upload_has_no_residues_to_look_at(tmp_path: Path) -> None:
    found = tried(*planned(tmp_path, aggregator="ckks", run__rounds=2))
    assert set(found.separations) == {"update", "noisy", "released"}
    assert found.masks is None


def test_where_all_records_are_in_every_batch_it_says_why_it_is_not_tried(tmp_path: Path) -> None:
    records = float(RECORDS * 4 // 5)
    why = why_no_server_view(*planned(tmp_path, privacy__expected_batch=records))
    assert why is not None
    assert "left out" in why
