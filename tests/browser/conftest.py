"""A real browser, and pages of reports for it: of a finished run, an unfinished one, and one that fails.

The system's Chromium is driven; none is downloaded.  Where there is none the tests are skipped, or fail where
the environment says ``FEDPRIV_BROWSER=required``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_run import edit, make_run, report_of

from fedpriv.audit.curves import histogram, roc
from fedpriv.report import write
from fedpriv.report.forms.html import render

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@dataclass
class Opened:
    """A page in the browser, with all that it asked for and all that it complained about."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def _give_up(reason: str) -> None:
    if os.environ.get("FEDPRIV_BROWSER") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")  # its event loop would be in the way of other tests that run one
def browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _give_up("playwright is not installed")
    found = next((path for path in map(shutil.which, _NAMES) if path), None)
    if found is None:
        _give_up("there is no Chromium on this machine")
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=found, args=_QUIET)
        yield started
        started.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of each kind of run, by name."""
    root = tmp_path_factory.mktemp("pages")
    finished = make_run(root, rounds=4, trust="local", name="finished")
    unfinished = make_run(root, rounds=6, done=3, trust="central", name="unfinished")
    failed = make_run(root, rounds=2, aggregator="plain", insecure_seed=7, name="failed")
    edit(failed / "result.json", accuracy=0.99)
    for run_dir in (finished, unfinished, failed):
        write(run_dir, formats=["json", "html"])
    (finished / "report.html").write_text(render(_with_everything(report_of(finished))))
    return {run_dir.name: run_dir / "report.html" for run_dir in (finished, unfinished, failed)}


@pytest.fixture
def visit(browser: Any, pages: dict[str, Path]) -> Iterator[Callable[..., Opened]]:
    """Open a page by name; ``width`` in CSS pixels, ``scheme`` light or dark."""
    contexts = []

    def open_page(name: str, *, width: int = 1280, scheme: str = "light") -> Opened:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        opened = Opened(context.new_page())
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        opened.page.on(
            "console",
            lambda said: opened.complaints.append(said.text) if said.type in ("error", "warning") else None,
        )
        opened.page.goto(pages[name].as_uri())
        return opened

    yield open_page
    for context in contexts:
        context.close()


def _with_everything(report: dict[str, Any]) -> dict[str, Any]:
    """The report with an audit and a moving bound, so that its page has every chart."""
    rng = np.random.default_rng(5)
    coins = rng.random(400) < 0.5
    scores = rng.normal(size=400) + 0.5 * coins
    membership = {
        "auc": 0.51, "auc_interval": [0.48, 0.54], "tpr": 0.012, "tpr_interval": [0.006, 0.02],
        "tpr_allowed": 0.2, "fpr": 0.01, "members": 900, "others": 300, "confidence": 0.95,
        "members_in_all": 900, "others_in_all": 300, "sample_seed": None,
    }  # fmt: skip
    audit = {
        "verdict": "PASS", "method": "One run with canaries", "canaries": 400,
        "canaries_in": int(coins.sum()), "dimension": 75_000,
        "rounds": 4, "rounds_planned": 4, "guesses": 300, "right": 170,
        "confidence": 0.95, "claimed_epsilon": 2.9, "delta": 1e-5, "chance_under_claim": 1.0,
        "epsilon_lower_bound": 0.1, "epsilon_if_gaussian": 0.2, "epsilon_one_shot_estimate": None,
        "could_have_failed": True, "membership": membership, "server_view": _server_view(),
        "server_view_not_made": None, "versions": {"fedpriv": "0"}, "seconds": 3.5,
        "canary_roc": roc(scores[coins], scores[~coins]), "canary_scores": histogram(scores, coins),
    }  # fmt: skip
    report["empirical_audit"] = {"run": True, "text": "PASS: no contradiction was found.", "audit": audit}
    moving = {"initial": 1.0, "quantile": 0.5, "learning_rate": 0.2, "bit_units": 100}
    report["mechanism"]["adaptive_clip"] = moving
    for round_, bound in zip(report["rounds"], (1.0, 0.95, 0.97, 0.96), strict=True):
        round_["clip"] = bound
    loaded: dict[str, Any] = json.loads(json.dumps(report))
    return loaded


def _server_view() -> dict[str, Any]:
    reached = {"auc_interval": [0.49, 0.99], "tpr": 0.02, "tpr_interval": [0.0, 0.99], "fpr": 0.01}
    counts = {"members": 60, "others": 240, "confidence": 0.95}
    views = [
        {"view": view, "auc": auc, **reached, **counts}
        for view, auc in (("update", 0.98), ("noisy", 0.8), ("received", 0.5), ("released", 0.52))
    ]
    masks = {
        "residues": 75_000, "bins": 64, "statistic": 60.1, "p_value": 0.58, "error_rate": 1e-6,
        "uniform": True,
    }  # fmt: skip
    found = {"method": "Scores are inner products", "client": 1, "rounds": 2, "seconds": 1.0}
    return {**found, "views": views, "masks": masks}
