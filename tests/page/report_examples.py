"""Layer reports as `splitcodec inspect --json` prints them, made without a model: from a seed."""

from __future__ import annotations

import base64
import io
import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Report = dict[str, Any]
Shape = tuple[int, ...]

HOSTILE = (
    "</script><script>window.hurt = 1</script>",
    "<!-- <script> --> <img src=x onerror='window.hurt = 1'>",
    "say \"hi\" & 'bye'; ${window.hurt = 1} `x` \\u003c",
    "Größe/ÄÖÜ/層\u202eevil\u2028next\ud800",
    "very/long/" + "name_without_any_break" * 40,
)


def residual(*, quantised: bool = False, seed: int = 0) -> Report:
    """A small residual network of 9 blocks for 32 x 32 images, with all measurements.

    The last split point sends two tensors: the inside of the last block and its shortcut.
    """
    net = _Network(seed)
    x = net.add("CONV_2D", [-1], (1, 32, 32, 16), 27)
    net.splits(x)
    for number, width in enumerate(width for width in (16, 32, 64) for _ in range(3)):
        size = 32 * 16 // width
        shortcut = x
        inner = net.add("CONV_2D", [x], (1, size, size, width), 9 * net.channels(x))
        x = net.add("CONV_2D", [inner], (1, size, size, width), 9 * width)
        if net.channels(shortcut) != width:
            shortcut = net.add("CONV_2D", [shortcut], (1, size, size, width), width // 2)
        x = net.add("ADD", [x, shortcut], (1, size, size, width))
        x = net.add("RELU", [x], (1, size, size, width))
        net.splits(x)
        if number == 7:
            kept = x
    net.splits(net.add("MEAN", [x], (1, 64)))
    net.add("FULLY_CONNECTED", [x + 1], (1, 10), 64)
    report = net.report("resnet20.onnx", (1, 32, 32, 3), samples=64, quantised=quantised)
    report["split_points"].append(net.several(report, [kept + 1, kept]))
    return report


def large(operators: int = 700, *, seed: int = 1) -> Report:
    """Dense blocks, four-way branches and a long chain, measured as a real report would be."""
    net = _Network(seed)
    x = net.add("Conv", [-1], (1, 32, 56, 56), 27)
    for _ in range(3):  # every layer of a dense block reads all before it
        members = [x]
        for _ in range(40):
            shape = (1, 16 * len(members) + 16, 28, 28)
            joined = net.add("Concat", members, shape)
            narrow = net.add("Conv", [joined], (1, 64, 28, 28), 256)
            members.append(net.add("Conv", [narrow], (1, 16, 28, 28), 576))
        x = net.add("Concat", members, (1, 256, 28, 28))
        net.splits(x)
    for _ in range(12):  # branches of different lengths side by side
        ends = []
        for length in (1, 2, 3, 2):
            end = x
            for _ in range(length):
                end = net.add("Conv", [end], (1, 48, 14, 14), 900)
            ends.append(end)
        x = net.add("Concat", ends, (1, 192, 14, 14))
        net.splits(x)
    while len(net.operators) < operators:
        x = net.add("Relu" if len(net.operators) % 2 else "Conv", [x], (1, 192, 14, 14), 1728)
        net.splits(x)
    return net.report("dense-and-branches.onnx", (1, 3, 224, 224), samples=32)


def hostile() -> Report:
    """The residual network with every name replaced by one that tries to be more than a name."""
    report = residual()
    names = itertools.cycle(HOSTILE)
    report["model"] = HOSTILE[0] + HOSTILE[1]
    report["machine"] = HOSTILE[2]
    for item in itertools.chain(report["inputs"], report["outputs"], report["operators"]):
        item["name"] = next(names)
    for operator in report["operators"]:
        operator["kind"] = next(names)
    for point in report["split_points"]:
        point["name"] = next(names)
        point["after"] = next(names)
        for tensor in point["tensors"]:
            tensor["name"] = next(names)
    return report


def bare() -> Report:
    """The residual network where nothing was run."""
    report = residual()
    report["samples"] = 0
    for point in report["split_points"]:
        for key in (
            "sparsity",
            "entropy_bits",
            "coded",
            "head_ms",
            "tail_ms",
            "codebooks",
            "histograms",
            "picture",
            "head_ram_bytes",
        ):
            point[key] = None
    return report


def unsplittable() -> Report:
    """Two inputs that every operator passes on side by side."""
    net = _Network(0)
    left = net.add("Conv", [-1], (1, 8, 16, 16), 27)
    right = net.add("Conv", [-1], (1, 8, 16, 16), 27)
    net.add("Add", [left, right], (1, 8, 16, 16))
    report = net.report("twins.onnx", (1, 3, 16, 16), samples=0)
    report["inputs"].append({"name": "second", "shape": [1, 3, 16, 16], "dtype": "float32"})
    return report


class _Network:
    """Operators in execution order, and which of them are split points."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.operators: list[dict[str, Any]] = []
        self.shapes: list[Shape] = []
        self.points: list[int] = []

    def add(self, kind: str, inputs: list[int], shape: Shape, weights: int = 0) -> int:
        """Append an operator with `weights` weights per output channel; gives its number."""
        index = len(self.operators)
        channels = min(shape[1:])
        self.operators.append(
            {
                "index": index,
                "name": f"model/layer{index}/{kind.lower()}",
                "kind": kind,
                "inputs": list(inputs),
                "macs": math.prod(shape) * weights,
                "params": channels * weights,
                "output_bytes": 4 * math.prod(shape),
                "split_point": None,
            }
        )
        self.shapes.append(shape)
        return index

    def channels(self, operator: int) -> int:
        return self.shapes[operator][-1]

    def splits(self, operator: int) -> None:
        """Make the output of `operator` a split point."""
        self.operators[operator]["split_point"] = len(self.points)
        self.points.append(operator)

    def report(
        self, model: str, input_shape: Shape, *, samples: int, quantised: bool = False
    ) -> Report:
        bits = [1, 2, 3, 4]
        return {
            "model": model,
            "format": model.rpartition(".")[2],
            "inputs": [{"name": "input", "shape": list(input_shape), "dtype": "float32"}],
            "outputs": [{"name": "output", "shape": [1, 10], "dtype": "float32"}],
            "macs": self._sum("macs"),
            "params": self._sum("params"),
            "weight_bytes": 4 * self._sum("params"),
            "samples": samples,
            "bits": bits,
            "machine": "2 cores of an x86-64 with AVX2",
            "version": "0.1.0",
            "operators": self.operators,
            "split_points": [
                self._point(index, operator, bits, quantised)
                for index, operator in enumerate(self.points)
            ],
        }

    def several(self, report: Report, operators: list[int]) -> dict[str, Any]:
        """A split point that sends the outputs of two operators, of the same shape."""
        point = self._point(len(self.points), operators[0], report["bits"], False)
        names = [self.operators[operator]["name"] for operator in operators]
        point["tensors"] = [{**point["tensors"][0], "name": name} for name in names]
        point["name"] = ", ".join(names)
        point["repeats"] = None
        for key in ("elements", "bytes", "float32_bytes", "int8_bytes"):
            point[key] *= len(operators)
        return point

    def _sum(self, key: str, end: int | None = None) -> int:
        return sum(operator[key] for operator in self.operators[:end])

    def _point(self, index: int, operator: int, bits: list[int], quantised: bool) -> dict[str, Any]:
        shape = self.shapes[operator]
        elements = math.prod(shape)
        dtype, width = ("int8", 1) if quantised else ("float32", 4)
        sparsity = float(self.random.uniform(0.2, 0.7))
        values = self._values(elements, sparsity)
        # what an entropy coder could do, growing towards the width as real features' does
        entropy = [round(float(bit * (1 - sparsity) ** 0.6), 4) for bit in range(1, 9)]
        head, params = self._sum("macs", operator + 1), self._sum("params", operator + 1)
        before = operator + 1
        first = next(at for at, other in enumerate(self.points) if self.shapes[other] == shape)
        tensor = {
            "name": self.operators[operator]["name"],
            "shape": list(shape),
            "dtype": dtype,
            "scale": 0.0235 if quantised else None,
            "zero_point": -128 if quantised else None,
        }
        return {
            "index": index,
            "name": tensor["name"],
            "after": self.operators[operator]["kind"],
            "operators_before": before,
            "tensors": [tensor],
            "shape": list(shape),
            "dtype": dtype,
            "elements": elements,
            "bytes": width * elements,
            "float32_bytes": 4 * elements,
            "int8_bytes": elements,
            "repeats": first if first < index else None,
            "macs_head": head,
            "macs_tail": self._sum("macs") - head,
            "params_head": params,
            "params_tail": self._sum("params") - params,
            "weight_bytes_head": 4 * params,
            "weight_bytes_tail": 4 * (self._sum("params") - params),
            "head_ram_bytes": max(item["output_bytes"] for item in self.operators[:before]) * 2,
            "sparsity": sparsity,
            "entropy_bits": entropy,
            "coded": [_coded(bit, elements, entropy[bit - 1]) for bit in bits],
            "head_ms": round(head / 2e6 + 0.02 * before, 3),
            "tail_ms": round((self._sum("macs") - head) / 2e7 + 0.1, 3),
            "codebooks": [
                {"bits": bit, "centroids": _centroids(values, bit)} for bit in bits if bit <= 3
            ],
            "histograms": [
                self._histogram(channel, sparsity) for channel in range(min(16, shape[1]))
            ],
            "picture": _picture(values) if len(shape) == 4 else None,
        }

    def _values(self, count: int, sparsity: float) -> npt.NDArray[np.float64]:
        values = np.abs(self.random.normal(0, 1.5, min(count, 4096)))
        values[self.random.random(len(values)) < sparsity] = 0
        return values

    def _histogram(self, channel: int, sparsity: float) -> dict[str, Any]:
        values = self._values(2048, sparsity) * self.random.uniform(0.5, 2)
        counts, edges = np.histogram(values, 64)
        return {
            "channel": channel,
            "counts": counts.tolist(),
            "low": float(edges[0]),
            "high": float(edges[-1]),
        }


def _coded(bits: int, elements: int, entropy: float) -> dict[str, Any]:
    return {
        "bits": bits,
        "pack": 8 + elements * bits / 8,
        "lzma": 12 + 1.08 * elements * entropy / 8,
        "context": None if bits > 3 else 9 + 0.84 * elements * entropy / 8,
    }


def _centroids(values: npt.NDArray[np.float64], bits: int) -> list[float]:
    places = (np.arange(2**bits) + 0.5) / 2**bits
    return sorted({round(float(value), 5) for value in np.quantile(values, places)})


def _picture(values: npt.NDArray[np.float64]) -> dict[str, Any]:
    side = int(min(64, math.isqrt(len(values))))
    levels = np.clip(values[: side * side] * 60, 0, 255).astype(np.uint8).reshape(side, side)
    data = io.BytesIO()
    Image.fromarray(levels).save(data, "PNG")
    png = base64.b64encode(data.getvalue()).decode()
    return {"png": png, "channels": 16, "width": side, "height": side}
