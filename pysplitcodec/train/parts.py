"""The parts that recipes name: bottlenecks and methods."""

from __future__ import annotations

import inspect
from typing import Any, Callable

from torch import nn

from pysplitcodec.errors import ArgumentError
from pysplitcodec.train.autoencoder import autoencoder
from pysplitcodec.train.bnn_plus import BNNPlus
from pysplitcodec.train.method import Method
from pysplitcodec.train.ptq import KMeans, MinMax
from pysplitcodec.train.qat import QAT
from pysplitcodec.train.rate import Rate
from pysplitcodec.train.recipe import BottleneckPart, MethodPart
from pysplitcodec.train.tcl import TCL


def _none(_shape: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    """Nothing: the tensor at the split point is the feature."""
    return nn.Identity(), nn.Identity()


# Each takes the shape at the split point and settings, and gives encoder and decoder.
BOTTLENECKS: dict[str, Callable[..., tuple[nn.Module, nn.Module]]] = {
    "autoencoder": autoencoder,
    "none": _none,
}

# Each takes bits and settings.
METHODS: dict[str, Callable[..., Method]] = {
    "minmax": MinMax,
    "kmeans": KMeans,
    "bnn+": BNNPlus,
    "tcl": TCL,
    "qat": QAT,
    "rate": Rate,
}


def build_bottleneck(part: BottleneckPart, shape: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder for a tensor [c, h, w]."""
    found: tuple[nn.Module, nn.Module] = _made(
        BOTTLENECKS, "bottleneck", part.name, (shape,), part.settings
    )
    return found


def build_method(part: MethodPart) -> Method:
    """The method."""
    found: Method = _made(METHODS, "method", part.name, (part.bits,), part.settings)
    return found


def _made(known: Any, what: str, name: str, arguments: tuple[Any, ...], settings: Any) -> Any:
    if name not in known:
        raise ArgumentError(f"{what}.name is {name!r}: expected {', '.join(known)}")
    taken = inspect.signature(known[name]).parameters.values()
    names = [p.name for p in taken if p.kind is p.KEYWORD_ONLY]
    for setting in settings:
        if setting not in names:
            expected = ", ".join(names) or "no settings"
            raise ArgumentError(f"{what}.{setting} is not known to {name!r}: expected {expected}")
    return known[name](*arguments, **settings)
