"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

# The same examples in every run; a failure is repeatable anywhere.
hypothesis.settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Models, features and images: SPLITCODEC_DATA, or shared/data beside the repository."""
    named = os.environ.get("SPLITCODEC_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no test data in {folder}; set SPLITCODEC_DATA")
    return folder
