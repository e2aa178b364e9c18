"""Showing that the halves of a model compute what the whole computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pysplitcodec.errors import SplitError
from pysplitcodec.native import numpy_dtype
from pysplitcodec.runtime import Array, Runner, TensorInfo, is_module, open_model
from pysplitcodec.splitting.cuts import Split


@dataclass(frozen=True)
class Difference:
    """How far tail(head(x)) is from whole(x), over all outputs and inputs.

    identical: whether every output has the same bits.
    largest: the largest absolute difference of two numbers; NaNs are equal to each other.
    relative: the same, divided by the largest absolute value of that output of the whole.
    """

    identical: bool
    largest: float
    relative: float


def verify(
    model: Any,
    halves: Split[Any],
    inputs: Iterable[Sequence[npt.ArrayLike]] | None = None,
    *,
    example: Any = None,
    optimise: bool = False,
) -> Difference:
    """Run `halves` and the whole `model` on the same inputs and compare what they give.

    model: a path, bytes or a `torch.nn.Module`.  inputs: what the model takes, a sequence of arrays
    for each run; drawn at random, from a fixed seed, where there are none.  example: of a module,
    as for `split`; the arrays take the place of its tensors.  optimise: let ONNX Runtime fuse
    operators, which it cannot do across a cut, so that the last bits of floats may differ; without
    effect on other models.

    Raises SplitError if the halves do not fit together or give other shapes or dtypes, ModelError
    if something does not run, MissingDependencyError without a runtime.
    """
    return next(verify_all(model, [halves], inputs, example=example, optimise=optimise))


def verify_all(
    model: Any,
    splits: Iterable[Split[Any]],
    inputs: Iterable[Sequence[npt.ArrayLike]] | None = None,
    *,
    example: Any = None,
    optimise: bool = False,
) -> Iterator[Difference]:
    """As `verify` of each of `splits` in turn, for which the whole model is run only once.

    >>> graph = read_graph(model)                                          # doctest: +SKIP
    >>> differences = verify_all(model, map(graph.split, graph.list_cuts()))  # doctest: +SKIP
    """
    whole = open_part(model, example, optimise=optimise)
    given = random_inputs(whole) if inputs is None else inputs
    runs = [(arrays, whole(*arrays)) for arrays in given]
    for halves in splits:
        head = open_head(halves.head, example, optimise=optimise)
        tail = open_part(halves.tail, optimise=optimise)
        result = Difference(True, 0.0, 0.0)
        for arrays, outputs in runs:
            answers = tail(*head(*arrays))
            if len(answers) != len(outputs):
                raise SplitError(
                    f"the tail gives {len(answers)} outputs, the whole model {len(outputs)}"
                )
            for wanted, got in zip(outputs, answers):
                found = _difference(wanted, got)
                result = Difference(
                    result.identical and found.identical,
                    max(result.largest, found.largest),
                    max(result.relative, found.relative),
                )
        yield result


def open_part(part: Any, example: Any = None, *, optimise: bool = False) -> Runner:
    """Make a model or a half of any format ready to be called; arguments as for `verify`."""
    if not is_module(part):
        return open_model(part, optimise=optimise)
    from pysplitcodec.runtime_torch import ModuleModel

    return ModuleModel(part, example)


def open_head(head: Any, example: Any = None, *, optimise: bool = False) -> Runner:
    """As `open_part`, for a head: it takes those of the example's arguments that hold tensors."""
    if is_module(head) and example is not None:
        from pysplitcodec.runtime_torch import head_arguments

        example = head_arguments(example)
    return open_part(head, example, optimise=optimise)


def random_inputs(model: Runner, runs: int = 2) -> list[list[Array]]:
    """What `verify` runs `model` on where it is given nothing, from a fixed seed.

    Quantised inputs get numbers of all their range and, in every second run, numbers about zero,
    which saturate less of what follows.  A segmentation network may see background everywhere in
    all of them: give `verify` real inputs of such a model.
    """
    rng = np.random.default_rng(0)
    return [[_random(info, rng, run) for info in model.inputs] for run in range(runs)]


def _random(info: TensorInfo, rng: np.random.Generator, run: int) -> Array:
    dtype = numpy_dtype(info.dtype)
    if dtype.kind in "fc" or info.dtype == "bfloat16":
        return rng.standard_normal(info.shape).astype(dtype)
    if dtype.kind in "iu" and dtype.itemsize == 1:
        limits = np.iinfo(dtype)
        if run % 2:
            values = (info.zero_point or 0) + 0.3 * limits.max * rng.standard_normal(info.shape)
            return np.clip(values, limits.min, limits.max).astype(dtype)
        return rng.integers(limits.min, limits.max + 1, info.shape).astype(dtype)
    # Wider integers are mostly numbers of something, of which there are at least two.
    return rng.integers(0, 2, info.shape).astype(dtype)


def _difference(wanted: Any, got: Any) -> Difference:
    if wanted.shape != got.shape or wanted.dtype != got.dtype:
        raise SplitError(
            f"the halves give {got.dtype} of shape {got.shape}, "
            f"the whole model {wanted.dtype} of shape {wanted.shape}"
        )
    if wanted.tobytes() == got.tobytes():
        return Difference(True, 0.0, 0.0)
    largest = float(np.nan_to_num(apart(wanted, got), nan=np.inf).max())
    scale = float(np.abs(np.nan_to_num(wanted.astype(np.complex128))).max())
    return Difference(False, largest, largest / scale if scale else largest)


def apart(wanted: Any, got: Any) -> Any:
    """How far numbers are from others: infinities of one sign, and NaNs, are equal."""
    with np.errstate(invalid="ignore"):
        found = np.asarray(np.abs(wanted.astype(np.complex128) - got))
    found[(wanted == got) | ((wanted != wanted) & (got != got))] = 0
    return found
