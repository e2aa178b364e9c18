"""The machine and the installation that figures belong to."""

from __future__ import annotations

import contextlib
import ctypes.util
import os
import platform
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import pysplitcodec as sc
from pysplitcodec.native import binding, core, cpu_feature_names

__all__ = ["describe", "info", "kernel_sets", "use_kernels"]

_EVERYTHING = 0xFFFFFFFF


def describe() -> dict[str, Any]:
    """Return CPU model, logical cores, OS, versions of Python and numpy, and the kernel set."""
    return {
        "cpu": _cpu_model(),
        "logical_cores": os.cpu_count(),
        "os": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "kernels": core.kernels_name(),
    }


def info() -> dict[str, Any]:
    """Return what is installed and in use, without importing the optional parts.

    `cpu_features` has those that kernels can use and this CPU has, `masked` those of them that
    `SPLITCODEC_CPU` keeps from being used; `optional` the version of every package of every extra,
    None where it is not installed.
    """
    in_use = cpu_feature_names()
    with _mask(_EVERYTHING):
        found = cpu_feature_names()
    return {
        "version": sc.__version__,
        "core": core.version(),
        "binding": binding(),
        "wire_format": _wire_format(),
        "cpu_features": found,
        "masked": [name for name in found if name not in in_use],
        "coders": sc.coders(),
        "lzma_decoder": _lzma_decoder(),
        **describe(),
        "optional": _optional(),
    }


def kernel_sets() -> dict[str, int]:
    """Return every kernel set that this CPU and `SPLITCODEC_CPU` allow, "reference" first.

    With each comes the mask of the features that it needs.
    """
    features = core.cpu_features()
    found: dict[str, int] = {}
    for mask in range(features + 1):
        if mask & ~features == 0:
            with _mask(mask):
                found.setdefault(core.kernels_name(), mask)
    return found


@contextlib.contextmanager
def use_kernels(name: str | None) -> Iterator[None]:
    """Use one of `kernel_sets()`, in all threads, while the context lasts; None changes nothing."""
    with _mask(core.cpu_features() if name is None else kernel_sets()[name]):
        yield


@contextlib.contextmanager
def _mask(mask: int) -> Iterator[None]:
    before = core.cpu_features()
    core.set_cpu_mask(mask)
    try:
        yield
    finally:
        core.set_cpu_mask(before)


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        if found := re.search(r"^model name\s*: (.+)$", text, re.MULTILINE):
            return found[1].strip()
    return platform.processor() or platform.machine()


def _wire_format() -> int:
    """Byte 3 of a self-describing frame: docs/format.md."""
    codec = sc.Codec(sc.Codebook([0, 1]), "pack", shape=())
    return codec.encode(np.zeros((), np.float32), self_describing=True)[3]


def _lzma_decoder() -> str | None:
    """The liblzma that the core is linked to, or "built in"; None without the coder."""
    if not sc.coders().get("lzma"):
        return None
    library = core.__file__ if binding() == "pybind11" else _shared_library()
    try:
        # a library answers for those that it is linked to as well
        version = ctypes.CDLL(library).lzma_version_string
    except (AttributeError, OSError):
        return "built in"
    version.restype = ctypes.c_char_p
    return f"liblzma {version().decode('ascii')}"


def _shared_library() -> str | None:
    """What the cffi binding loads."""
    if explicit := os.environ.get("SPLITCODEC_LIBRARY"):
        return explicit
    beside = sorted((Path(sc.__file__).parent / "lib").glob("*splitcodec*"))
    return str(beside[0]) if beside else ctypes.util.find_library("splitcodec")


def _optional() -> dict[str, dict[str, str | None]]:
    """Packages by extra, as the metadata of this package lists them."""
    found: dict[str, dict[str, str | None]] = {}
    try:
        requirements = metadata.requires("pysplitcodec") or []
    except metadata.PackageNotFoundError:  # the sources, not installed
        requirements = []
    for requirement in requirements:
        package, _, condition = requirement.partition(";")
        extra = re.search(r"extra == [\"'](\w+)[\"']", condition)
        name = re.split(r"[^\w.-]", package.strip())[0]
        if extra and extra[1] not in ("test", "dev") and name not in ("pysplitcodec", "numpy"):
            found.setdefault(extra[1], {})[name] = _version(name)
    # measured where it is there, and too large for the extra
    found.setdefault("bench", {})["torch"] = _version("torch")
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
