"""PyTorch modules to TFLite, in float and in int8."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from pysplitcodec.errors import MissingDependencyError, ModelError
from pysplitcodec.runtime import Array, one_line
from pysplitcodec.splitting.tflite_file import AlignedBuffer, read_model, schema, write_model

# What litert-torch calls the inputs and outputs of a module that takes *args and gives a tuple.
_SIGNATURE, _INPUT, _OUTPUT = "serving_default", "args_{}", "output_{}"


def to_tflite(module: nn.Module, tensors: Sequence[torch.Tensor]) -> bytes:
    """A float TFLite file of `module`, which takes `tensors` and gives a tuple of tensors.

    Raises ModelError if an operator has no counterpart, MissingDependencyError without
    litert-torch.
    """
    converter = _import("litert_torch")
    with _quiet():
        try:
            data: bytes = converter.convert(module, tuple(tensors)).model_content()
        except Exception as error:  # converters raise whatever they come across
            reason = innermost(error)
            raise ModelError(f"the half cannot be exported to TFLite: {reason}") from error
    return bytes(data)


def quantize(data: bytes, samples: Sequence[Sequence[Array]]) -> bytes:
    """The same file in int8: inputs, weights per channel, kernels and outputs.

    data: as `to_tflite` gives it.  samples: real inputs, which tell the range of every tensor.

    Raises ModelError if an operator has no int8 kernel, MissingDependencyError without
    ai-edge-quantizer.
    """
    calibrator = _import("ai_edge_quantizer.calibrator")
    quantizer = _import("ai_edge_quantizer.quantizer")
    recipe = _import("ai_edge_quantizer.recipe").static_wi8_ai8()
    recipes = _import("ai_edge_quantizer.recipe_manager").RecipeManager()
    # By default ranges are moving averages, which cut off peaks: 5 to 7 dB less on ResNet-20.
    range_update = _import("ai_edge_quantizer.utils.qsv_utils").min_max_update
    given = [{_INPUT.format(i): array for i, array in enumerate(sample)} for sample in samples]
    with _quiet():
        try:
            recipes.load_quantization_recipe(recipe)
            ranges = calibrator.Calibrator(data, num_threads=1, qsv_update_func=range_update)
            ranges.calibrate({_SIGNATURE: given}, recipes)
            work = quantizer.Quantizer(data, recipe)
            result = work.quantize(ranges.get_model_qsvs(), enable_progress_report=False)
        except Exception as error:
            raise ModelError(f"the half cannot be quantised: {innermost(error)}") from error
    quantized = bytes(result.quantized_model)
    left = _float_operators(quantized)
    if left:
        raise ModelError(
            f"the half cannot be computed in int8 throughout: {', '.join(left)} would be computed "
            "in float; cut before it, or export without calibration"
        )
    return quantized


def rename(data: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """The same file, as `to_tflite` and `quantize` give it, with these names for its tensors.

    They are also put in this order, which is that of the module's tensors.
    """
    tree = read_model(data)
    (signature,) = tree.signatureDefs
    (graph,) = (g for i, g in enumerate(tree.subgraphs) if i == signature.subgraphIndex)
    for ends, pattern, names, attribute in (
        (signature.outputs, _OUTPUT, outputs, "outputs"),
        # last, for a tensor that is both
        (signature.inputs, _INPUT, inputs, "inputs"),
    ):
        by_name = {end.name.decode(): end for end in ends}
        if set(by_name) != {pattern.format(i) for i in range(len(names))}:
            raise ModelError(f"the converter gave {attribute} {sorted(by_name)} for {[*names]}")
        ordered = [by_name[pattern.format(i)] for i in range(len(names))]
        for end, name in zip(ordered, names):
            end.name = name.encode()
            graph.tensors[end.tensorIndex].name = name.encode()
        setattr(graph, attribute, [end.tensorIndex for end in ordered])
    tree.buffers = [
        AlignedBuffer(None if b.data is None else np.asarray(b.data, np.uint8))
        for b in tree.buffers
    ]
    return write_model(tree)


def missing(format: str, package: str | None) -> MissingDependencyError:
    """The error for a package that exporting to a format needs."""
    version = torch.__version__.split("+")[0]
    return MissingDependencyError(
        f"exporting to {format} needs {package}: "
        f'pip install "pysplitcodec[export]" "torch=={version}" '
        "(with torch named, pip does not replace it)"
    )


def innermost(error: BaseException) -> str:
    """The message of the error that led to others: it names the operator."""
    while error.__cause__ is not None:
        error = error.__cause__
    return one_line(error) or type(error).__name__  # type: ignore[arg-type]


def _float_operators(data: bytes) -> list[str]:
    """Names of the operators that compute floats, and of those that convert to and from them."""
    classes = schema()
    tree = read_model(data)
    names = {value: name for name, value in vars(classes.BuiltinOperator).items()}
    found = set()
    for graph in tree.subgraphs:
        for operator in graph.operators:
            tensors = [graph.tensors[i] for i in (*operator.inputs, *operator.outputs) if i >= 0]
            if any(tensor.type == classes.TensorType.FLOAT32 for tensor in tensors):
                code = tree.operatorCodes[operator.opcodeIndex]
                found.add(names[max(code.builtinCode, code.deprecatedBuiltinCode)])
    between = {"QUANTIZE", "DEQUANTIZE"}
    return sorted(found - between or found)


def _import(module: str) -> Any:
    try:
        with _quiet():
            return importlib.import_module(module)
    except ImportError as error:
        raise missing("TFLite", error.name) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep litert-torch from writing its progress to stdout, and all from warning."""
    switch = "LITERT_TORCH_SHOW_PROGRESS"
    before = os.environ.get(switch)
    os.environ[switch] = "n"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if before is None:
            del os.environ[switch]
        else:
            os.environ[switch] = before
