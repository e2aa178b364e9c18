"""The parts that recipes name: bottlenecks, quantisers, losses, and methods made of these."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from torch import nn

from pysplitcodec.errors import ArgumentError
from pysplitcodec.train.autoencoder import autoencoder
from pysplitcodec.train.bnn_plus import bnn_plus
from pysplitcodec.train.bottlenet import Jpeg, bottlenet, reduction_units
from pysplitcodec.train.data import Data
from pysplitcodec.train.method import Loss, Method
from pysplitcodec.train.on_server import on_device, on_server
from pysplitcodec.train.ptq import KMeans, MinMax, kmeans, minmax
from pysplitcodec.train.qat import Centroids, qat
from pysplitcodec.train.quantizer import Quantizer
from pysplitcodec.train.rate import Rate, rate
from pysplitcodec.train.recipe import BottleneckPart, MethodPart, Recipe
from pysplitcodec.train.tcl import Clustering, tcl


def _none(_shape: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    """Nothing: the tensor at the split point is the feature."""
    return nn.Identity(), nn.Identity()


# Each takes the shape at the split point and settings, and gives encoder and decoder.
BOTTLENECKS: dict[str, Callable[..., tuple[nn.Module, nn.Module]]] = {
    "autoencoder": autoencoder,
    "bottlenet": reduction_units,
    "none": _none,
}

# Each takes bits and settings.
QUANTIZERS: dict[str, Callable[..., Quantizer]] = {
    "minmax": MinMax,
    "kmeans": KMeans,
    "centroids": Centroids,
    "jpeg": Jpeg,
}

# Each takes settings.
LOSSES: dict[str, Callable[..., Loss]] = {loss.name: loss for loss in (Clustering, Rate)}


def composed(
    bits: int,
    *,
    quantizer: Mapping[str, Any],
    losses: Sequence[Mapping[str, Any]] = (),
    task_weight: float = 1.0,
) -> Method:
    """Any quantiser with any losses, as tables of a name and settings."""
    if not isinstance(losses, (list, tuple)):
        raise ArgumentError(f"method.losses is {losses!r}: expected a list of tables")
    return Method(
        _from_table(QUANTIZERS, "method.quantizer", quantizer, (bits,)),
        [_from_table(LOSSES, f"method.losses[{i}]", loss, ()) for i, loss in enumerate(losses)],
        task_weight=task_weight,
    )


# Each takes bits and settings.
METHODS: dict[str, Callable[..., Method]] = {
    "minmax": minmax,
    "kmeans": kmeans,
    "bnn+": bnn_plus,
    "tcl": tcl,
    "qat": qat,
    "rate": rate,
    "bottlenet": bottlenet,
    "composed": composed,
}

# What splitting is compared with.  Each takes model, data, where to compute, and settings, and
# gives what run.json says of it.
UNSPLIT: dict[str, Callable[..., dict[str, Any]]] = {
    "on-device": on_device,
    "on-server": on_server,
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


def measure_unsplit(part: MethodPart, model: nn.Module, data: Data, device: str) -> dict[str, Any]:
    """What run.json says of a model that is not split."""
    found: dict[str, Any] = _made(
        UNSPLIT, "method", part.name, (model, data, device), part.settings
    )
    return found


def check_parts(recipe: Recipe) -> None:
    """Raise ArgumentError for a recipe whose parts cannot be made; reads no files."""
    method, bottleneck = recipe.method, recipe.bottleneck
    if method.name in UNSPLIT:
        _check(UNSPLIT, "method", method.name, method.settings)
        return
    if recipe.split is None:
        raise ArgumentError("the recipe has no [split]: expected one")
    build_method(method)
    _check(BOTTLENECKS, "bottleneck", bottleneck.name, bottleneck.settings)


def _from_table(known: Any, what: str, table: Any, arguments: tuple[Any, ...]) -> Any:
    if not isinstance(table, Mapping) or "name" not in table:
        raise ArgumentError(f"{what} is {table!r}: expected a table with a name")
    settings = {key: value for key, value in table.items() if key != "name"}
    return _made(known, what, table["name"], arguments, settings)


def _made(known: Any, what: str, name: str, arguments: tuple[Any, ...], settings: Any) -> Any:
    _check(known, what, name, settings)
    return known[name](*arguments, **settings)


def _check(known: Any, what: str, name: str, settings: Any) -> None:
    if name not in known:
        names = [*known, *(UNSPLIT if known is METHODS else ())]
        raise ArgumentError(f"{what}.name is {name!r}: expected {', '.join(names)}")
    taken = inspect.signature(known[name]).parameters.values()
    own = {p.name: p for p in taken if p.kind is p.KEYWORD_ONLY}
    for setting in settings:
        if setting not in own:
            expected = ", ".join(own) or "no settings"
            raise ArgumentError(f"{what}.{setting} is not known to {name!r}: expected {expected}")
    for setting, parameter in own.items():
        if parameter.default is parameter.empty and setting not in settings:
            raise ArgumentError(f"{what} {name!r} has no {setting}: expected one")
