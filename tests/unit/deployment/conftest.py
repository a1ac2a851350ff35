"""One deployment to try things out with, for all tests that only look at it."""

from __future__ import annotations

import pytest
from parties.small_run import small_config

from fedpriv.deployment.files import Deployed, write_deployment
from fedpriv.federation.config import Config


@pytest.fixture(scope="package")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Five clients; the noise is given, so that none has to be calibrated."""
    return small_config(tmp_path_factory.mktemp("data"), privacy__noise_multiplier=3.0)


@pytest.fixture(scope="package")
def deployed(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    return write_deployment(config, tmp_path_factory.mktemp("deployed") / "small")
