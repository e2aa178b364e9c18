"""The C core, through whichever binding this installation has.

The extension `_core` (pybind11) is preferred; where it was not built, `_abi` loads the shared
library `libsplitcodec` through cffi.  Both have the same names.  `SPLITCODEC_BINDING=pybind11` or
`cffi` insists on one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from pysplitcodec.errors import MissingDependencyError

if TYPE_CHECKING:
    from pysplitcodec import _core as core
else:
    _wanted = os.environ.get("SPLITCODEC_BINDING", "")
    if _wanted not in ("", "pybind11", "cffi"):
        raise MissingDependencyError(
            f"SPLITCODEC_BINDING is {_wanted!r}: expected 'pybind11' or 'cffi'"
        )
    if _wanted == "cffi":
        from pysplitcodec import _abi as core
    else:
        try:
            from pysplitcodec import _core as core
        except ImportError:
            if _wanted:
                raise
            from pysplitcodec import _abi as core

__all__ = ["CODERS", "DTYPES", "binding", "core", "cpu_feature_names", "numpy_dtype"]

# The numbers of csrc/include/splitcodec.h.
DTYPES = {"float32": 0, "float16": 1, "bfloat16": 2, "int8": 3, "uint8": 4}
CODERS: dict[str, int] = {}
while (_name := core.coder_name(len(CODERS))) is not None:
    CODERS[_name] = len(CODERS)
_CPU_FEATURES = {"sse42": 1, "avx2": 2, "avx512": 4, "neon": 256, "crc": 512}


def binding() -> str:
    """Return "pybind11" or "cffi"."""
    return "cffi" if core.__name__.endswith("_abi") else "pybind11"


def cpu_feature_names() -> list[str]:
    """Names of the CPU features in use, as `SPLITCODEC_CPU` takes them."""
    present = core.cpu_features()
    return [name for name, bit in _CPU_FEATURES.items() if present & bit]


def numpy_dtype(name: str) -> np.dtype[Any]:
    """Return the numpy dtype of a name in DTYPES; bfloat16 is ml_dtypes'.

    Raises MissingDependencyError for bfloat16 without it.
    """
    if name != "bfloat16":
        return np.dtype(name)
    try:
        import ml_dtypes
    except ImportError:
        raise MissingDependencyError(
            "bfloat16 arrays need ml_dtypes: pip install 'pysplitcodec[bfloat16]'"
        ) from None
    found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return found
