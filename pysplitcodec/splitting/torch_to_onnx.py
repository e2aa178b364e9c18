"""PyTorch modules to ONNX."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from pysplitcodec.errors import ModelError
from pysplitcodec.splitting.torch_to_tflite import innermost, missing


def to_onnx(
    module: nn.Module,
    tensors: Sequence[torch.Tensor],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> bytes:
    """An ONNX file of `module`, which takes `tensors` and gives a tuple of tensors.

    inputs, outputs: their names.  The first dimension of the first tensor, and of those that
    agree with it, is free if the module's code allows that.

    Raises ModelError if an operator has no counterpart, MissingDependencyError without onnxscript.
    """
    for name in ("onnx", "onnxscript"):
        if importlib.util.find_spec(name) is None:
            raise missing("ONNX", name)
    names = {"input_names": [*inputs], "output_names": [*outputs]}
    batch = tensors[0].shape[0] if tensors[0].dim() else None
    batched = [bool(t.dim()) and t.shape[0] == batch for t in tensors]
    # a batch of 1 would be taken for a constant
    several = [torch.cat([t, t]) if b else t for t, b in zip(tensors, batched)]
    free = tuple({0: torch.export.Dim("batch")} if b else None for b in batched)
    try:
        return _export(module, several, dynamic_shapes=(free,), **names)
    except Exception:  # whatever a free batch meets; without one, errors say what is wrong
        try:
            return _export(module, tensors, **names)
        except Exception as error:
            raise ModelError(f"the half cannot be exported to ONNX: {innermost(error)}") from error


def _export(module: nn.Module, tensors: Sequence[torch.Tensor], **options: Any) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(module, tuple(tensors), dynamo=True, verbose=False, **options)
    data: bytes = program.model_proto.SerializeToString()
    return data
