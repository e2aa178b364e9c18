"""Turning a half of a PyTorch model into a file for a device: TFLite or ONNX.

>>> head, tail = split(model, at="layer2", example=x)       # doctest: +SKIP
>>> exported = export(head, x, "tflite", calibration=images.split(1))  # doctest: +SKIP
>>> Path("head.tflite").write_bytes(exported.data)          # doctest: +SKIP

TFLite files are made by litert-torch and, where they compute in int8, ai-edge-quantizer; ONNX
files by `torch.onnx`.  Each is run and compared with the half before it is given out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_map

from pysplitcodec.errors import ArgumentError, ModelError
from pysplitcodec.runtime import Array, TensorInfo, open_model
from pysplitcodec.splitting.torch_flat import Flat, is_tensor
from pysplitcodec.splitting.torch_to_onnx import to_onnx
from pysplitcodec.splitting.torch_to_tflite import quantize, rename, to_tflite
from pysplitcodec.splitting.verify import apart

Format = Literal["tflite", "onnx"]

# Kernels that add in another order differ by 1e-5 of the largest value, wrong files by much more.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Exported:
    """A half as a file, and how far what it gives is from what the half gives.

    data: the file.
    largest: the largest absolute difference of two numbers, in real values: int8 is dequantised.
    relative: the same, divided by the largest absolute value of that output of the half.
    snr_db: power of the half's output over that of the difference, in dB, at the output where it
        is lowest; infinite where they are equal.
    steps: the largest difference in units of the output's scale; None unless it is quantised.
    """

    data: bytes
    largest: float
    relative: float
    snr_db: float
    steps: float | None


def export(
    half: nn.Module,
    example: Any,
    format: Format = "tflite",
    *,
    calibration: Iterable[Any] | None = None,
    channels_last: bool = False,
) -> Exported:
    """Write `half`, in eval() mode, as a file that computes the same; the mode is put back.

    half: head or tail, or any module that gives tensors.  example: its input, as for `split`.
        Numbers other than tensors become constants.
    calibration: real inputs like `example`, a few dozen: makes a TFLite file of int8 inputs,
        weights, kernels and outputs.  `runtime.TFLiteModel` tells their scales and zero points.
    channels_last: let inputs and outputs of four dimensions be (N, H, W, C), as TFLite computes,
        instead of PyTorch's (N, C, H, W), which costs a transposition each.  A tail takes such a
        feature as `torch_parts.ChannelsLast(tail)`.

    Inputs are named as the half's arguments, outputs as the tail's arguments are: a half's file
    takes and gives tensors in the same order as the half.  TFLite has no int64 nor float64
    here: they become int32 and float32.  A TFLite file takes the example's shape, an ONNX file
    any batch where the half's code allows one.

    What comes is checked on `calibration` and otherwise on `example` and random numbers.

    Raises ModelError, which names the operator, if one cannot be exported or has no int8 kernel,
    and if the file gives something else than the half; ArgumentError for a bad argument;
    MissingDependencyError without the extra "export".
    """
    if format not in ("tflite", "onnx"):
        raise ArgumentError(f"format must be 'tflite' or 'onnx', not {format!r}")
    if calibration is not None and format != "tflite":
        raise ArgumentError("calibration is for TFLite: ONNX files are exported in float")
    _check_device(half)
    with _evaluating(half):
        flat = Flat(half, example, channels_last)
        tensors = flat.tensors(example)
        outputs = flat.output_names(tensors)
        samples = list(_checked(example) if calibration is None else calibration)
        if not samples:
            raise ArgumentError("calibration must hold at least one sample")
        if format == "onnx":
            data = to_onnx(flat, tensors, flat.input_names, outputs)
        else:
            data = to_tflite(flat, tensors)
            if calibration is not None:
                given = [[t.numpy() for t in flat.tensors(sample)] for sample in samples]
                data = quantize(data, given)
            data = rename(data, flat.input_names, outputs)
    exported = check_export(half, data, samples, channels_last=channels_last)
    if exported.steps is None and not exported.relative <= _TOLERANCE:
        raise ModelError(
            f"the {format} file does not compute what the half does: they differ by "
            f"{exported.relative:.2g} of the largest value; an operator was converted wrongly"
        )
    return exported


def check_export(
    half: nn.Module, data: bytes, samples: Iterable[Any], *, channels_last: bool = False
) -> Exported:
    """Run a file that `export` gave and `half`, in eval() mode, on `samples` and compare them.

    samples: inputs like `export`'s `example`.  channels_last: as it was for `export`.

    Int8 files get the samples quantised: what that loses counts as a difference.

    Raises ModelError if the file does not run or gives other shapes than the half, ArgumentError
    if there is no sample or one does not fit.
    """
    model = open_model(data)
    errors = [_Error(info) for info in model.outputs]
    ran = False
    with _evaluating(half), torch.no_grad():
        for sample in samples:
            flat = Flat(half, sample, channels_last)
            tensors = flat.tensors(sample)
            wanted = [tensor.numpy() for tensor in flat(*tensors)]
            got = model(*(i.stored(t.numpy()) for t, i in zip(tensors, model.inputs)))
            if len(wanted) != len(got):
                raise ModelError(f"the file gives {len(got)} tensors, the half {len(wanted)}")
            for error, w, g in zip(errors, wanted, got):
                error.add(w, g)
            ran = True
    if not ran:
        raise ArgumentError("samples must hold at least one sample")
    steps = [error.largest / error.info.scale for error in errors if error.info.scale]
    return Exported(
        data,
        largest=max(error.largest for error in errors),
        relative=max(error.largest / (error.peak or 1.0) for error in errors),
        snr_db=min(error.snr_db for error in errors),
        steps=max(steps) if steps else None,
    )


class _Error:
    """The differences at one output, over all samples."""

    def __init__(self, info: TensorInfo) -> None:
        self.info = info
        self.largest = self.peak = self._signal = self._noise = 0.0

    def add(self, wanted: Array, got: Array) -> None:
        if wanted.shape != got.shape or (wanted.dtype.kind != got.dtype.kind and not self._scaled):
            raise ModelError(
                f"output {self.info.name!r} of the file is {got.dtype} of shape {got.shape}, the "
                f"half gives {wanted.dtype} of shape {wanted.shape}"
            )
        real = got.astype(np.float64)
        if self.info.scale:
            real = self.info.scale * (real - (self.info.zero_point or 0))
        expected = wanted.astype(np.float64)
        distance = apart(expected, real)
        finite = expected[np.isfinite(expected)]
        self.largest = max(
            self.largest, float(np.nan_to_num(distance, nan=np.inf).max(initial=0.0))
        )
        self.peak = max(self.peak, float(np.abs(finite).max(initial=0.0)))
        self._signal += float(np.square(finite).sum())
        self._noise += float(np.square(distance).sum())

    @property
    def snr_db(self) -> float:
        if not self._noise:
            return float("inf")
        return float(10 * np.log10(self._signal / self._noise)) if self._signal else float("-inf")

    @property
    def _scaled(self) -> bool:
        return bool(self.info.scale)


def _checked(example: Any) -> Iterator[Any]:
    """The example, and random numbers in its place, for it may be all zeros."""
    yield example
    random = torch.Generator().manual_seed(0)
    yield tree_map(
        lambda x: (
            torch.randn(x.shape, generator=random, dtype=x.dtype)
            if is_tensor(x) and x.is_floating_point()
            else x
        ),
        example,
    )


def _check_device(half: nn.Module) -> None:
    for name, tensor in (*half.named_parameters(), *half.named_buffers()):
        if tensor.device.type != "cpu":
            raise ArgumentError(
                f"half must be on the CPU, but its {name} is on {tensor.device}: "
                "export copy.deepcopy(half).cpu()"
            )


@contextmanager
def _evaluating(half: nn.Module) -> Iterator[None]:
    before = [(module, module.training) for module in half.modules()]
    half.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training
