"""Small TFLite models, built by the schema's object API, and what every split has to satisfy."""

from __future__ import annotations

import numpy as np
import pytest

from pysplitcodec.runtime import TensorInfo, TFLiteModel
from pysplitcodec.splitting import Cut, read_graph

schema = pytest.importorskip(
    "ai_edge_litert.schema_py_generated", reason='needs "pysplitcodec[tflite]"'
)
flatbuffers = pytest.importorskip("flatbuffers")

# of schema.TensorType
FLOAT32, FLOAT16, INT32, BOOL, INT8, RESOURCE = 0, 1, 2, 6, 9, 13
OPERATOR = schema.BuiltinOperator


class Graph:
    """A small model under construction, by the schema's object API."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.operatorCodes = []
        self.model.buffers = [schema.BufferT()]
        self.model.subgraphs = []
        self.subgraph()

    def subgraph(self) -> None:
        """Start the next subgraph; tensors and operators go into it from now on."""
        self.now = schema.SubGraphT()
        self.now.tensors, self.now.operators = [], []
        self.model.subgraphs.append(self.now)

    def buffer(self, data: np.ndarray) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(data.tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def tensor(self, name, shape=(1, 4), data=None, type=FLOAT32, buffer=0, variable=False) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, list(shape), type
        tensor.buffer = buffer if data is None else self.buffer(data)
        tensor.isVariable = variable
        self.now.tensors.append(tensor)
        return len(self.now.tensors) - 1

    def op(self, code, inputs, outputs, options=None) -> None:
        entry = schema.OperatorCodeT()
        entry.builtinCode = code
        entry.deprecatedBuiltinCode = min(code, 127)
        operator = schema.OperatorT()
        # A code of its own for each operator, so that pruning has something to do.
        operator.opcodeIndex = len(self.model.operatorCodes)
        self.model.operatorCodes.append(entry)
        operator.inputs, operator.outputs = inputs, outputs
        if options is not None:
            operator.builtinOptionsType = getattr(
                schema.BuiltinOptions, type(options).__name__[:-1]
            )
            operator.builtinOptions = options
        self.now.operators.append(operator)

    def add(self, a: int, b: int, name: str, shape=(1, 4)) -> int:
        out = self.tensor(name, shape)
        self.op(OPERATOR.ADD, [a, b], [out], schema.AddOptionsT())
        return out

    def ends(self, inputs, outputs) -> None:
        self.now.inputs, self.now.outputs = inputs, outputs

    def pack(self) -> bytes:
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def skip_graph() -> Graph:
    """in -> a -> b -> sum = a + b -> out, each step adding a constant of its own."""
    graph = Graph()
    x = graph.tensor("in")
    weights = [graph.tensor(f"w{i}", data=np.full((1, 4), i + 0.1, np.float32)) for i in range(3)]
    a = graph.add(x, weights[0], "a")
    b = graph.add(a, weights[1], "b")
    total = graph.add(a, b, "sum")
    out = graph.add(total, weights[2], "out")
    graph.ends([x], [out])
    return graph


def samples(model: TFLiteModel, count: int = 2) -> list[list[np.ndarray]]:
    """Random inputs; integers in all their range and then around zero, which saturates less."""
    rng = np.random.default_rng(20)
    found = []
    for number in range(count):
        arrays = []
        for info in model.inputs:
            dtype = np.dtype(info.dtype)
            values = rng.standard_normal(info.shape)
            if dtype.kind != "f":
                limits = np.iinfo(dtype)
                if number % 2:
                    values = (info.zero_point or 0) + 0.3 * limits.max * values
                else:
                    values = rng.integers(limits.min, limits.max + 1, info.shape)
                values = np.clip(values, limits.min, limits.max)
            arrays.append(values.astype(dtype))
        found.append(arrays)
    return found


def assert_exact(
    data: bytes,
    delegates: bool = True,
    tensors: int = 1,
    inputs: list[list[np.ndarray]] | None = None,
) -> list[Cut]:
    """Split `data` at every cut and compare the halves with the whole; return the cuts."""
    whole = TFLiteModel(data, delegates=delegates)
    inputs = samples(whole) if inputs is None else inputs
    expected = [whole(*arrays) for arrays in inputs]
    graph = read_graph(data)
    cuts = graph.list_cuts(tensors)
    assert [cut.index for cut in cuts] == list(range(len(cuts)))
    for cut in cuts:
        halves = graph.split(cut)
        head = TFLiteModel(halves.head, delegates=delegates)
        tail = TFLiteModel(halves.tail, delegates=delegates)
        assert head.inputs == whole.inputs
        assert tail.outputs == whole.outputs
        assert head.outputs == tail.inputs
        assert head.outputs == [
            TensorInfo(t.name, t.shape, t.dtype, t.scale, t.zero_point) for t in cut.tensors
        ]
        for arrays, outputs in zip(inputs, expected):
            sent = head(*arrays)
            assert sum(array.nbytes for array in sent) == cut.nbytes
            assert sum(array.size for array in sent) == cut.elements
            for got, wanted in zip(tail(*sent), outputs):
                assert got.dtype == wanted.dtype
                np.testing.assert_array_equal(got, wanted, err_msg=f"{cut}")
    return cuts


def while_graph() -> Graph:
    """a = in + 1, b = a doubled until it is 100 or more, out = b + 1; subgraph 1 is not used."""
    graph = Graph()
    x = graph.tensor("in", (1,))
    one = graph.tensor("one", (1,), np.float32([1]))
    a = graph.add(x, one, "a", (1,))
    b = graph.tensor("b", (1,))
    loop = schema.WhileOptionsT()
    loop.condSubgraphIndex, loop.bodySubgraphIndex = 3, 2
    graph.op(OPERATOR.WHILE, [a], [b], loop)
    out = graph.add(b, one, "out", (1,))
    graph.ends([x], [out])

    graph.subgraph()
    unused = graph.tensor("unused", (1,))
    graph.ends([unused], [graph.add(unused, unused, "unused sum", (1,))])

    graph.subgraph()
    value = graph.tensor("value", (1,))
    graph.ends([value], [graph.add(value, value, "doubled", (1,))])

    graph.subgraph()
    value = graph.tensor("value", (1,))
    limit = graph.tensor("limit", (1,), np.float32([100]))
    less = graph.tensor("less", (1,), type=BOOL)
    graph.op(OPERATOR.LESS, [value, limit], [less], schema.LessOptionsT())
    graph.ends([value], [less])
    return graph
