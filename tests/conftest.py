"""What all tests share."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import hypothesis
import pytest

# Before numpy and torch come: their threads wait for each other by spinning, which takes 20 times
# as long where other work has one of two cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

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


@pytest.fixture(scope="session")
def fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden vectors as tests/c/check_vectors.c reads them."""
    from builds import write_fixture  # brings numpy

    path = tmp_path_factory.mktemp("vectors") / "vectors.txt"
    write_fixture(path)
    return path


@pytest.fixture(scope="session")
def architecture() -> Callable[..., Any]:
    """Gives one of torchvision's architectures and an example: see `torchvision_model`."""
    for package in ("torch", "torchvision"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    from split_models import torchvision_model

    return torchvision_model


@pytest.fixture(scope="session", autouse=True)
def _outside_the_checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Processes that tests start would import the sources here instead of what is installed."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    yield
    os.chdir(before)
