"""How many multiply-accumulates an ONNX node takes, from the shapes of what it reads and gives."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Callable, NamedTuple

import numpy as np

Shape = tuple[int, ...]


class Shapes(NamedTuple):
    """Shapes of a node's inputs and outputs; None for those that are absent or not known."""

    inputs: tuple[Shape | None, ...]
    outputs: tuple[Shape | None, ...]


class _UnknownError(Exception):
    """Something that the number depends on is not known."""


def has_products(node: Any) -> bool | None:
    """Whether a node has products that count; None for a kind that is not known."""
    kind = (_domain(node), node.op_type)
    if kind in _RULES or kind in _UNCOUNTED:
        return True
    if kind[0] in ("", "ai.onnx.ml") or kind in _WITHOUT_PRODUCTS:
        return False
    return None


def count(node: Any, shapes: Shapes) -> int | None:
    """Multiply-accumulates of a node without graphs inside it, None if that cannot be told."""
    products = has_products(node)
    if not products:
        return None if products is None else 0
    rule = _RULES.get((_domain(node), node.op_type))
    if rule is None:
        return None
    try:
        return rule(_Node(node, shapes))
    except _UnknownError:
        return None


class _Node:
    """A node as rules look at it: what they ask for and is not known ends in `_UnknownError`."""

    def __init__(self, node: Any, shapes: Shapes) -> None:
        self._node = node
        self._shapes = shapes

    def has(self, number: int) -> bool:
        """Whether the node has an input."""
        return number < len(self._node.input) and bool(self._node.input[number])

    def input(self, number: int) -> Shape:
        """Shape of an input."""
        return _known(self._shapes.inputs[number] if self.has(number) else None)

    def output(self) -> Shape:
        """Shape of the first output."""
        return _known(self._shapes.outputs[0])

    def inputs(self) -> Iterator[Shape]:
        """Shapes of all inputs."""
        return map(_known, self._shapes.inputs)

    def attribute(self, name: str, default: Any) -> Any:
        """Value of an attribute of a simple type."""
        for attribute in self._node.attribute:
            if attribute.name == name:
                return attribute.s.decode() if attribute.s else attribute.i
        return default


def _known(shape: Shape | None) -> Shape:
    if shape is None:
        raise _UnknownError
    return shape


def _domain(node: Any) -> str:
    return "" if node.domain == "ai.onnx" else str(node.domain)


def _convolution(weights: int) -> Callable[[_Node], int]:
    """Each output takes one output channel's part of the weights, [outputs, inputs / group, ...].

    weights: number of the input that they are.
    """
    return lambda node: math.prod(node.output()) * math.prod(node.input(weights)[1:])


def _transposed(node: _Node) -> int:
    """Each input takes its channel's part of the weights, [inputs, outputs / group, ...]."""
    return math.prod(node.input(0)) * math.prod(node.input(1)[1:])


def _matmul(node: _Node) -> int:
    return math.prod(node.output()) * node.input(0)[-1]


def _fused_matmul(node: _Node) -> int:
    if node.attribute("transBatchA", 0):
        raise _UnknownError
    return math.prod(node.output()) * node.input(0)[-2 if node.attribute("transA", 0) else -1]


def _gemm(node: _Node) -> int:
    return math.prod(node.output()) * node.input(0)[0 if node.attribute("transA", 0) else 1]


def _matmul_n_bits(node: _Node) -> int:
    return math.prod(node.output()) * int(node.attribute("K", 0))


def _einsum(node: _Node) -> int:
    """Of two tensors: the product of the sizes of all letters; of one, only sums."""
    terms = node.attribute("equation", "").replace(" ", "").partition("->")[0].split(",")
    if len(terms) == 1:
        return 0
    if len(terms) > 2:
        raise _UnknownError  # the order decides
    sizes: dict[str, int] = {}
    rest: list[Shape] = []
    for term, shape in zip(terms, node.inputs()):
        before, dots, after = term.partition("...")
        end = len(shape) - len(after)
        dims = (*shape[: len(before)], *shape[end:])
        for letter, size in zip(before + after, dims):
            sizes[letter] = max(size, sizes.get(letter, 1))
        rest += [shape[len(before) : end]] if dots else []
    return math.prod(sizes.values()) * math.prod(np.broadcast_shapes(*rest))


def _recurrent(node: _Node) -> int:
    """Each step of each sequence takes both matrices of weights, of every direction."""
    steps = math.prod(node.input(0)[:2])
    return steps * (math.prod(node.input(1)) + math.prod(node.input(2)))


def _attention(past: int) -> Callable[[_Node], int]:
    """Each query takes every key, and its weights every value: of heads as wide as they are.

    past: number of an input whose presence makes keys longer by what is not known.
    """

    def products(node: _Node) -> int:
        keys = node.input(1)
        if node.has(past) or len(keys) not in (3, 4):
            raise _UnknownError
        return keys[-2] * (math.prod(node.input(0)) + math.prod(node.output()))

    return products


def _attention_with_weights(past: int) -> Callable[[_Node], int]:
    """The same behind a matrix product that gives query, key and value."""

    def products(node: _Node) -> int:
        given, output = node.input(0), node.output()
        if node.has(past) or node.attribute("qkv_hidden_sizes", None) is not None:
            raise _UnknownError
        return math.prod(given[:2]) * math.prod(node.input(1)) + 2 * given[1] * math.prod(output)

    return products


_MICROSOFT = "com.microsoft"
_RULES: dict[tuple[str, str], Callable[[_Node], int]] = {
    ("", "Attention"): _attention(past=4),
    ("", "Conv"): _convolution(1),
    ("", "ConvInteger"): _convolution(1),
    ("", "ConvTranspose"): _transposed,
    ("", "DeformConv"): _convolution(1),
    ("", "Einsum"): _einsum,
    ("", "GRU"): _recurrent,
    ("", "Gemm"): _gemm,
    ("", "LSTM"): _recurrent,
    ("", "MatMul"): _matmul,
    ("", "MatMulInteger"): _matmul,
    ("", "QLinearConv"): _convolution(3),
    ("", "QLinearMatMul"): _matmul,
    ("", "RNN"): _recurrent,
    (_MICROSOFT, "Attention"): _attention_with_weights(past=4),
    (_MICROSOFT, "DynamicQuantizeLSTM"): _recurrent,
    (_MICROSOFT, "DynamicQuantizeMatMul"): _matmul,
    (_MICROSOFT, "FusedConv"): _convolution(1),
    (_MICROSOFT, "FusedGemm"): _gemm,
    (_MICROSOFT, "FusedMatMul"): _fused_matmul,
    (_MICROSOFT, "MatMulIntegerToFloat"): _matmul,
    (_MICROSOFT, "MatMulNBits"): _matmul_n_bits,
    (_MICROSOFT, "MultiHeadAttention"): _attention(past=6),
    (_MICROSOFT, "QAttention"): _attention_with_weights(past=8),
    (_MICROSOFT, "QGemm"): _gemm,
}
# They have products, but not as many as a rule here tells.
_UNCOUNTED = frozenset(
    [("", kind) for kind in ("DFT", "LinearAttention", "MelWeightMatrix", "STFT")]
    + [
        ("ai.onnx.ml", kind)
        for kind in ("LinearClassifier", "LinearRegressor", "SVMClassifier", "SVMRegressor")
    ]
)
# Of other domains those kinds alone that are known to have none.
_WITHOUT_PRODUCTS = frozenset(
    (_MICROSOFT, kind)
    for kind in (
        "BiasGelu",
        "BiasSoftmax",
        "DequantizeLinear",
        "FastGelu",
        "Gelu",
        "NhwcMaxPool",
        "QLinearAdd",
        "QLinearAveragePool",
        "QLinearConcat",
        "QLinearGlobalAveragePool",
        "QLinearLeakyRelu",
        "QLinearMul",
        "QLinearReduceMean",
        "QLinearSigmoid",
        "QLinearSoftmax",
        "QuantizeLinear",
        "QuickGelu",
        "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
    )
)
