"""Splitting TFLite models: the halves together compute what the whole does, bit for bit."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pysplitcodec.errors import ArgumentError, MissingDependencyError, ModelError, SplitError
from pysplitcodec.runtime import TensorInfo, TFLiteModel
from pysplitcodec.splitting import Cut, Tensor, list_cuts, read_graph, split

schema = pytest.importorskip(
    "ai_edge_litert.schema_py_generated", reason='needs "pysplitcodec[tflite]"'
)
flatbuffers = pytest.importorskip("flatbuffers")

DATA = Path(os.environ.get("SPLITCODEC_DATA", Path(__file__).parents[1] / "../shared/data"))

# Model -> how many cuts it has.
CUTS = {
    "mlperf-tiny-tflite/ad01_autoencoder_fp32": 9,
    "mlperf-tiny-tflite/ad01_autoencoder_int8": 9,
    "mlperf-tiny-tflite/resnet8_cifar10_fp32": 7,
    "mlperf-tiny-tflite/resnet8_cifar10_int8": 7,
    "mlperf-tiny-tflite/sww_int8": 10,
    "mlperf-tiny-tflite/vww_mobilenetv1_96_fp32": 30,
    "mlperf-tiny-tflite/vww_mobilenetv1_96_int8": 30,
    "coral-tflite/deeplabv3_mnv2_dm05_pascal_quant": 36,
    "coral-tflite/keras_lstm_mnist_ptq": 5,
    "coral-tflite/mobilenet_v1_0.25_128_quant": 30,
    "coral-tflite/mobilenet_v1_0.75_192_quant": 30,
    "coral-tflite/mobilenet_v2_1.0_224_quant": 35,
    "coral-tflite/movenet_single_pose_lightning_ptq": 16,
    "coral-tflite/split_concat": 1,
    "coral-tflite/tf2_mobilenet_v2_1.0_224_ptq": 37,
    "tflite-micro/mobilenet_v2_pytorch_int8_nchw": 43,
}
FLOAT32, FLOAT16, BOOL, INT8 = 0, 1, 6, 9
OPERATOR = schema.BuiltinOperator


def data_file(name: str) -> Path:
    path = DATA / f"{name}.tflite"
    if not path.exists():
        pytest.skip(f"{path} is missing; set SPLITCODEC_DATA to the folder of test models")
    return path


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
    rng = np.random.default_rng(20)
    found = []
    for _ in range(count):
        arrays = []
        for info in model.inputs:
            dtype = np.dtype(info.dtype)
            if dtype.kind == "f":
                arrays.append(rng.standard_normal(info.shape).astype(dtype))
            else:
                limits = np.iinfo(dtype)
                arrays.append(rng.integers(limits.min, limits.max + 1, info.shape).astype(dtype))
        found.append(arrays)
    return found


def assert_exact(data: bytes, delegates: bool = True, tensors: int = 1) -> list[Cut]:
    """Split `data` at every cut and compare the halves with the whole; return the cuts."""
    whole = TFLiteModel(data, delegates=delegates)
    inputs = samples(whole)
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


def assert_lean(data: bytes, cut: Cut) -> None:
    """The halves hold little more than the whole: tables that both need, no weights twice."""
    halves = split(data, cut)
    assert len(halves.head) + len(halves.tail) < len(data) + 2500


@pytest.mark.parametrize(
    "delegates",
    [True, pytest.param(False, marks=pytest.mark.slow)],
    ids=["delegates", "no delegates"],
)
@pytest.mark.parametrize("name", CUTS)
def test_every_cut_of_real_models_is_exact(name, delegates):
    data = data_file(name).read_bytes()
    cuts = assert_exact(data, delegates)
    assert len(cuts) == CUTS[name]
    for cut in cuts[:: len(cuts) // 3 + 1]:
        assert_lean(data, cut)


def test_inputs_of_the_exactness_test_matter():
    """Were all outputs alike, comparing them would show nothing."""
    model = TFLiteModel(data_file("mlperf-tiny-tflite/resnet8_cifar10_int8"))
    first, second = (model(*arrays)[0] for arrays in samples(model))
    assert not np.array_equal(first, second)


def test_cuts_around_a_skip_connection():
    data = skip_graph().pack()
    cuts = assert_exact(data)
    assert [(c.name, c.after, c.operators_before) for c in cuts] == [
        ("a", "ADD", 1),
        ("sum", "ADD", 3),
    ]
    assert cuts[0].shape == (1, 4)
    assert cuts[0].dtype == "float32"
    assert (cuts[0].elements, cuts[0].nbytes) == (4, 16)
    assert split(data, 1) == split(data, "sum") == split(data, cuts[1]) == split(data, np.int64(1))
    head, tail = split(data, "a")
    assert (len(list_cuts(head)), len(list_cuts(tail))) == (0, 1)


@pytest.mark.parametrize("seed", range(40))
def test_cuts_of_random_graphs(seed):
    """The cuts are those of the definition, worked out with plain sets."""
    rng = random.Random(seed)
    graph = Graph()
    inputs = [graph.tensor(f"in{i}") for i in range(rng.randint(1, 2))]
    needs = {t: {t} for t in inputs}
    for number in range(rng.randint(2, 9)):
        known = list(needs)[-rng.randint(1, 3) :]
        a, b = rng.choice(known), rng.choice(known)
        out = graph.add(a, b, f"t{number}")
        needs[out] = needs[a] | needs[b] | {out}
    outputs = [list(needs)[-1]]
    graph.ends(inputs, outputs)
    data = graph.pack()

    live = needs[outputs[0]]
    reads = [(op.inputs, op.outputs[0]) for op in graph.now.operators if op.outputs[0] in live]
    wanted = []
    for cut in needs:
        if cut in inputs or cut in outputs:
            continue
        head = needs[cut] - set(inputs)
        sent = {t for i, o in reads if o not in head for t in i if t in head or t in inputs}
        if cut in sent and not sent & {*inputs, *outputs}:
            wanted.append(sorted(sent))
    for most in (1, 2, 3):
        cuts = assert_exact(data, tensors=most)
        sent = [sorted(tensor.number for tensor in cut.tensors) for cut in cuts]
        assert sent == [numbers for numbers in wanted if len(numbers) <= most]


def test_weights_are_aligned_and_only_where_used():
    graph = Graph()
    rng = np.random.default_rng(1)
    blocks = [rng.random((1, 1000)).astype(np.float32) for _ in range(3)]
    unused = rng.random((1, 1000)).astype(np.float32)
    graph.tensor("unused", (1, 1000), unused)
    last = x = graph.tensor("in", (1, 1000))
    for number, block in enumerate(blocks):
        last = graph.add(
            last, graph.tensor(f"w{number}", (1, 1000), block), f"t{number}", (1, 1000)
        )
    graph.ends([x], [last])
    data = graph.pack()
    halves = split(data, "t0")
    for block, part, other in zip(
        blocks,
        (halves.head, halves.tail, halves.tail),
        (halves.tail, halves.head, halves.head),
    ):
        assert part.find(block.tobytes()) % 16 == 0
        assert part.count(block.tobytes()) == 1
        assert block.tobytes() not in other
    assert unused.tobytes() not in halves.head + halves.tail
    for part, operators in ((halves.head, 1), (halves.tail, 2)):
        model = schema.ModelT.InitFromPackedBuf(part)
        assert len(model.operatorCodes) == len(model.subgraphs[0].operators) == operators
        assert len(model.buffers) == operators + 1
        assert model.buffers[0].data is None
    assert_exact(data)


def test_shared_buffer_is_written_once_per_half():
    graph = Graph()
    weights = np.random.default_rng(2).random((1, 500)).astype(np.float32)
    shared = graph.buffer(weights)
    last = x = graph.tensor("in", (1, 500))
    for number in range(4):
        weight = graph.tensor(f"w{number}", (1, 500), buffer=shared)
        last = graph.add(last, weight, f"t{number}", (1, 500))
    graph.ends([x], [last])
    data = graph.pack()
    assert len(assert_exact(data)) == 3
    for part in split(data, "t1"):
        assert part.count(weights.tobytes()) == 1


def external_file() -> bytes:
    """The skip graph with the weights behind the flatbuffer, as files over 2 GB have them."""
    graph = skip_graph()
    behind = b""
    buffers = graph.model.buffers[1:]
    sizes = [len(buffer.data) for buffer in buffers]
    for buffer in buffers:
        behind += buffer.data.tobytes()
        # Any number of the final width, to learn the flatbuffer's size.
        buffer.data, buffer.offset, buffer.size = None, 2**40, 16
    start = -(-len(graph.pack()) // 16) * 16
    for number, buffer in enumerate(buffers):
        buffer.offset = start + sum(sizes[:number])
        buffer.size = sizes[number]
    return graph.pack().ljust(start, b"\0") + behind


def test_weights_behind_the_flatbuffer_are_brought_in():
    data = external_file()
    inside = TFLiteModel(skip_graph().pack())
    x = samples(inside)[0]
    np.testing.assert_array_equal(TFLiteModel(data)(*x)[0], inside(*x)[0])
    assert len(assert_exact(data)) == 2
    assert split(data, "a") == split(skip_graph().pack(), "a")
    with pytest.raises(ModelError, match="truncated: buffer 3 is at bytes"):
        list_cuts(data[:-1])


def test_overlapping_weights_behind_the_flatbuffer_are_refused():
    graph = skip_graph()
    graph.model.buffers[1:] = [schema.BufferT(offset=8, size=1000) for _ in range(8)]
    with pytest.raises(ModelError, match="overlap"):
        list_cuts(graph.pack().ljust(1100, b"\0"))


def test_weights_in_a_separate_file_are_refused():
    graph = skip_graph()
    graph.now.tensors[1].externalBuffer = 1
    with pytest.raises(ModelError, match="'w0' are in a separate file"):
        list_cuts(graph.pack())


def test_signatures_follow_the_halves():
    graph = skip_graph()
    for key, subgraph in (("serve", 0), ("other", 1)):
        entry = schema.SignatureDefT()
        entry.signatureKey, entry.subgraphIndex = key, subgraph
        entry.inputs = [schema.TensorMapT("image", 0)]
        entry.outputs = [schema.TensorMapT("scores", len(graph.model.subgraphs[0].tensors) - 1)]
        graph.model.signatureDefs = [*(graph.model.signatureDefs or []), entry]
    graph.subgraph()
    graph.now.tensors = graph.model.subgraphs[0].tensors
    graph.now.operators = graph.model.subgraphs[0].operators
    graph.ends([0], [len(graph.now.tensors) - 1])
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter
    head, tail = (interpreter(model_content=part) for part in split(graph.pack(), "a"))
    assert head.get_signature_list() == {"serve": {"inputs": ["image"], "outputs": ["a"]}}
    assert tail.get_signature_list() == {"serve": {"inputs": ["a"], "outputs": ["scores"]}}
    x = np.arange(4, dtype=np.float32).reshape(1, 4)
    feature = head.get_signature_runner("serve")(image=x)
    scores = tail.get_signature_runner("serve")(**feature)["scores"]
    np.testing.assert_array_equal(scores, TFLiteModel(skip_graph().pack())(x)[0])


def test_metadata_of_the_whole_model_is_dropped():
    graph = skip_graph()
    graph.model.metadata = []
    for name in ("min_runtime_version", "TFLITE_METADATA"):
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, graph.buffer(np.frombuffer(name.encode(), np.uint8))
        graph.model.metadata.append(entry)
    # The files that TFLITE_METADATA refers to sit behind the flatbuffer as a ZIP.
    for part in split(graph.pack() + b"PK\3\4 labels", "a"):
        model = schema.ModelT.InitFromPackedBuf(part)
        assert [entry.name for entry in model.metadata] == [b"min_runtime_version"]
        assert model.buffers[model.metadata[0].buffer].data.tobytes() == b"min_runtime_version"
        assert b"TFLITE_METADATA" not in part


def test_absent_optional_inputs_stay_absent():
    graph = Graph()
    x, out = graph.tensor("in"), graph.tensor("out")
    weights = np.random.default_rng(3).random((4, 4)).astype(np.float32)
    between = graph.tensor("between")
    for number, (a, b) in enumerate([(x, between), (between, out)]):
        weight = graph.tensor(f"w{number}", (4, 4), weights + number)
        graph.op(OPERATOR.FULLY_CONNECTED, [a, weight, -1], [b], schema.FullyConnectedOptionsT())
    graph.ends([x], [out])
    assert [cut.name for cut in assert_exact(graph.pack())] == ["between"]
    tail = schema.ModelT.InitFromPackedBuf(split(graph.pack(), 0).tail)
    assert tail.subgraphs[0].operators[0].inputs[2] == -1


def test_what_only_constants_decide_is_computed_on_both_sides():
    """As in models with float16 weights: one DEQUANTIZE serves layers before and after a cut."""
    graph = Graph()
    x = graph.tensor("in")
    half = graph.tensor("w16", data=np.float16([[0.5, 1.5, 2.5, 3.5]]), type=FLOAT16)
    full = graph.tensor("w32")
    graph.op(OPERATOR.DEQUANTIZE, [half], [full], schema.DequantizeOptionsT())
    a = graph.add(x, full, "a")
    out = graph.add(a, full, "out")
    graph.ends([x], [out])
    data = graph.pack()
    assert [cut.name for cut in assert_exact(data)] == ["a"]
    for part in split(data, "a"):
        assert len(schema.ModelT.InitFromPackedBuf(part).subgraphs[0].operators) == 2
    with pytest.raises(SplitError, match="'w32' does not depend on the model's input"):
        split(data, "w32")


def test_constants_of_one_side_stay_there():
    """float16 weights used in the head only, and an output that no input decides."""
    graph = Graph()
    x = graph.tensor("in")
    wide = []
    for name in ("w", "fixed"):
        narrow = graph.tensor(f"{name}16", data=np.float16([[0.5, 1, 2, 3]]), type=FLOAT16)
        wide.append(graph.tensor(f"{name}32"))
        graph.op(OPERATOR.DEQUANTIZE, [narrow], [wide[-1]], schema.DequantizeOptionsT())
    a = graph.add(x, wide[0], "a")
    out = graph.add(a, a, "out")
    graph.ends([x], [out, wide[1]])
    # XNNPACK fails on an output that is a dequantised constant, whole model or tail.
    assert [cut.name for cut in assert_exact(graph.pack(), delegates=False)] == ["a"]
    head, tail = split(graph.pack(), "a")
    assert (b"w32" in head, b"w32" in tail) == (True, False)
    assert (b"fixed32" in head, b"fixed32" in tail) == (False, True)


def test_random_numbers_are_neither_constant_nor_a_feature():
    graph = Graph()
    x = graph.tensor("in")
    shape = graph.tensor("shape", (2,), np.int32([1, 4]), type=2)
    noise = graph.tensor("noise")
    graph.op(OPERATOR.RANDOM_UNIFORM, [shape], [noise], schema.RandomOptionsT(seed=1, seed2=2))
    out = graph.add(noise, graph.add(noise, noise, "a"), "out")
    graph.ends([x], [out])
    assert list_cuts(graph.pack()) == []
    graph.ends([x], [graph.add(graph.add(x, x, "b"), out, "sum")])
    data = graph.pack()
    assert [cut.name for cut in list_cuts(data)] == ["b"]
    head, tail = split(data, "b")
    assert (b"noise" in head, b"noise" in tail) == (False, True)


def test_outputs_of_the_head_would_have_to_be_sent():
    graph = skip_graph()
    (out,) = graph.now.outputs
    graph.ends([0], [out, 5])
    assert graph.now.tensors[5].name == "b"
    assert [cut.name for cut in assert_exact(graph.pack())] == ["a"]
    with pytest.raises(SplitError, match=r"would send 2 tensors \('b', 'sum'\)"):
        split(graph.pack(), "sum")


def test_operators_without_use_are_dropped():
    graph = skip_graph()
    graph.add(0, 1, "loose end")
    assert [cut.name for cut in assert_exact(graph.pack())] == ["a", "sum"]
    for part in split(graph.pack(), "a"):
        assert b"loose end" not in part
    with pytest.raises(SplitError, match="no output of the model needs 'loose end'"):
        split(graph.pack(), "loose end")


def variable_graph(shared: bool) -> bytes:
    graph = Graph()
    x = graph.tensor("in")
    state = graph.tensor("state", variable=True)
    a = graph.add(x, state, "a")
    b = graph.add(a, a, "b")
    out = graph.add(b, state if shared else b, "out")
    graph.ends([x], [out])
    return graph.pack()


def test_variable_on_both_sides_is_refused():
    assert [cut.name for cut in list_cuts(variable_graph(shared=False))] == ["a", "b"]
    assert list_cuts(variable_graph(shared=True)) == []
    with pytest.raises(SplitError, match="would part the users of the variable 'state'"):
        split(variable_graph(shared=True), "b")
    with pytest.raises(SplitError, match="'state' does not depend on the model's input"):
        split(variable_graph(shared=False), "state")


def test_operators_that_only_update_a_variable_are_kept():
    graph = skip_graph()
    state = graph.tensor("state", variable=True)
    graph.add(6, state, "update")
    assert graph.now.tensors[6].name == "sum"
    cuts = assert_exact(graph.pack())
    assert [cut.name for cut in cuts] == ["a", "sum"]
    for cut in cuts:
        head, tail = split(graph.pack(), cut)
        assert (b"update" in head, b"update" in tail) == (False, True)


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


def test_subgraphs_go_with_the_operator_that_runs_them():
    data = while_graph().pack()
    x = np.float32([4])
    assert TFLiteModel(data)(x) == [np.float32([161])]
    for name, in_head in (("a", 1), ("b", 3)):
        head, tail = split(data, name)
        assert len(schema.ModelT.InitFromPackedBuf(head).subgraphs) == in_head
        assert len(schema.ModelT.InitFromPackedBuf(tail).subgraphs) == 4 - in_head
        assert b"unused" not in head + tail
        assert TFLiteModel(tail)(*TFLiteModel(head)(x)) == [np.float32([161])]


def test_subgraphs_used_on_both_sides():
    """Two loops share a body, which has a loop of its own: both halves renumber it."""

    def loop(value: int, name: str, cond: int, body: int) -> int:
        out = graph.tensor(name, (1,))
        options = schema.WhileOptionsT()
        options.condSubgraphIndex, options.bodySubgraphIndex = cond, body
        graph.op(OPERATOR.WHILE, [value], [out], options)
        return out

    def condition(limit: float) -> None:
        graph.subgraph()
        value = graph.tensor("value", (1,))
        bound = graph.tensor("limit", (1,), np.float32([limit]))
        less = graph.tensor("less", (1,), type=BOOL)
        graph.op(OPERATOR.LESS, [value, bound], [less], schema.LessOptionsT())
        graph.ends([value], [less])

    graph = Graph()
    x = graph.tensor("in", (1,))
    a = loop(x, "a", 1, 2)
    b = graph.add(a, a, "b", (1,))
    graph.ends([x], [loop(b, "out", 4, 2)])
    condition(50)
    graph.subgraph()
    value = graph.tensor("value", (1,))
    inner = loop(graph.add(value, value, "twice", (1,)), "inner", 3, 5)
    graph.ends([value], [inner])
    condition(20)
    condition(1000)
    graph.subgraph()
    value = graph.tensor("value", (1,))
    graph.ends([value], [graph.add(value, value, "doubled", (1,))])

    whole = TFLiteModel(graph.pack())
    x = np.float32([3])
    assert whole(x) == [np.float32([1536])]
    for cut in list_cuts(graph.pack()):
        head, tail = split(graph.pack(), cut)
        assert TFLiteModel(tail)(*TFLiteModel(head)(x)) == whole(x)


def test_state_outside_the_graph_is_refused():
    graph = skip_graph()
    handle = graph.tensor("handle", (), type=13)
    graph.op(OPERATOR.VAR_HANDLE, [], [handle], schema.VarHandleOptionsT("", "counter"))
    with pytest.raises(SplitError, match="VAR_HANDLE operator keeps state outside the graph"):
        list_cuts(graph.pack())
    graph = while_graph()
    graph.now.tensors[0].isVariable = True
    with pytest.raises(SplitError, match="subgraph 3 keeps state"):
        list_cuts(graph.pack())


def test_old_operator_codes_are_named():
    """Files from before 2020 have the code in the one-byte field only."""
    graph = skip_graph()
    for code in graph.model.operatorCodes:
        code.builtinCode = 0
        code.deprecatedBuiltinCode = OPERATOR.MUL
    assert {cut.after for cut in list_cuts(graph.pack())} == {"MUL"}


def test_quantisation_of_a_cut():
    cuts = list_cuts(data_file("mlperf-tiny-tflite/resnet8_cifar10_int8"))
    assert cuts[3].dtype == "int8"
    assert cuts[3].tensor.scale == pytest.approx(0.127069, rel=1e-5)
    assert cuts[3].tensor.zero_point == -128
    cuts = list_cuts(data_file("mlperf-tiny-tflite/resnet8_cifar10_fp32"))
    sent = cuts[3].tensor
    assert (sent.dtype, sent.scale, sent.zero_point) == ("float32", None, None)


@pytest.mark.parametrize(
    ("at", "message"),
    [
        (2, "there is no cut 2: the model has 2 cuts, 0 to 1"),
        (-1, "there is no cut -1"),
        ("b", r"cutting at 'b' would send 2 tensors \('a', 'b'\); the model has 2 cuts, 0 to 1; "
              "the nearest before it is 0, 'a'; the nearest after it is 1, 'sum'"),
        ("in", "'in' is an input of the model"),
        ("out", "'out' is an output of the model"),
        ("w1", "'w1' does not depend on the model's input"),
        ("summ", "nothing named 'summ': the model has 2 cuts, 0 to 1; similar names: 'sum'"),
        (Cut(0, "x", (Tensor(4, "x", (), "int8"),), "ADD", 1), "the cut at 'x' belongs to another"),
    ],
)  # fmt: skip
def test_impossible_cuts_say_what_is_possible(at, message):
    with pytest.raises(SplitError, match=message):
        split(skip_graph().pack(), at)


def test_several_tensors():
    data = skip_graph().pack()
    halves = split(data, ["b", "a"])
    assert [tensor.name for tensor in halves.cut.tensors] == ["a", "b"]
    assert halves.cut.index == -1
    assert [info.name for info in TFLiteModel(halves.tail).inputs] == ["a", "b"]
    whole, (head, tail) = TFLiteModel(data), map(TFLiteModel, halves)
    for arrays in samples(whole):
        np.testing.assert_array_equal(tail(*head(*arrays))[0], whole(*arrays)[0])
    cuts = list_cuts(data, tensors=2)
    assert [cut.name for cut in cuts] == ["a", "b", "sum"]
    assert [t.name for t in cuts[1].tensors] == ["a", "b"]
    assert split(data, cuts[1]).head == split(data, "b", tensors=2).head == halves.head
    assert split(data, ["sum"]).tail == split(data, "sum").tail
    with pytest.raises(SplitError, match=r"2 tensors are sent at 'b': see .tensors"):
        cuts[1].shape  # noqa: B018
    with pytest.raises(SplitError, match="'b' need not be sent"):
        split(data, ["sum", "b"])
    with pytest.raises(SplitError, match="nothing named 'bb'"):
        split(data, ["a", "bb"])
    with pytest.raises(ArgumentError, match="names of the tensors"):
        split(data, [])
    with pytest.raises(ArgumentError, match="tensors must be a positive int, not 0"):
        list_cuts(data, tensors=0)
    with pytest.raises(ArgumentError, match="example is for PyTorch models"):
        read_graph(data, np.zeros(4))


def test_cut_of_the_wrong_type():
    with pytest.raises(ArgumentError, match="not float"):
        split(skip_graph().pack(), 1.0)


def test_names_that_are_absent_or_ambiguous():
    graph = skip_graph()
    tensors = {tensor.name: tensor for tensor in graph.now.tensors}
    tensors["a"].name = tensors["sum"].name = "same"
    with pytest.raises(SplitError, match=r"several cuts are named 'same'.*: 0, 1"):
        split(graph.pack(), "same")
    tensors["a"].name = None
    cut = list_cuts(graph.pack())[0]
    assert cut.name == f"#{cut.tensor.number}"
    assert split(graph.pack(), cut.name).cut == cut


def test_strings_cannot_be_sent():
    graph = skip_graph()
    graph.now.tensors[4].type = 5
    with pytest.raises(SplitError, match="'a', which ADD computes, is not an array of numbers"):
        split(graph.pack(), "a")


def test_truncated_files():
    data = skip_graph().pack()
    whole = list_cuts(data)
    refused = 0
    for length in range(len(data)):
        try:
            cuts = list_cuts(data[:length])
        except ModelError:
            refused += 1
        else:
            # what is missing can only be padding
            assert cuts == whole
    assert refused >= len(data) - 4
    real = data_file("mlperf-tiny-tflite/resnet8_cifar10_int8").read_bytes()
    for length in (0, 7, 8, 100, 1000, 50_000, len(real) - 4):
        with pytest.raises(ModelError):
            split(real[:length], 0)


def test_string_that_lost_its_last_byte():
    graph = skip_graph()
    graph.model.operatorCodes[0].customCode = "abc"
    data = graph.pack()
    assert data.endswith(b"abc\0")
    with pytest.raises(ModelError, match="truncated or corrupt"):
        list_cuts(data[:-1])


def test_damaged_files_give_model_errors_or_models():
    rng = random.Random(4)
    data = while_graph().pack()
    for _ in range(2000):
        damaged = bytearray(data)
        for _ in range(rng.choice([1, 2, 8])):
            damaged[rng.randrange(len(data))] = rng.choice([0, 1, 127, 128, 255])
        try:
            cuts = list_cuts(damaged)
            if cuts:
                split(damaged, cuts[0])
        except ModelError:
            pass


def test_random_bytes():
    noise = random.Random(5).randbytes(10_000)
    with pytest.raises(ModelError, match="not a TFLite model"):
        list_cuts(noise)
    with pytest.raises(ModelError, match="truncated or corrupt"):
        list_cuts(noise[:4] + b"TFL3" + noise)
    with pytest.raises(ModelError, match="cannot read the model 'no such file'"):
        list_cuts("no such file")


def test_small_file_that_describes_millions_of_tables():
    builder = flatbuffers.Builder(1024)
    schema.TensorStart(builder)
    tensor = schema.TensorEnd(builder)
    schema.SubGraphStartTensorsVector(builder, 5000)
    for _ in range(5000):
        builder.PrependUOffsetTRelative(tensor)
    tensors = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    subgraph = schema.SubGraphEnd(builder)
    schema.ModelStartSubgraphsVector(builder, 5000)
    for _ in range(5000):
        builder.PrependUOffsetTRelative(subgraph)
    subgraphs = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, subgraphs)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    with pytest.raises(ModelError, match="tables overlap"):
        list_cuts(builder.Output())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda g: setattr(g.now.operators[0], "inputs", [0, 99]), "refers to tensor 99 of 8"),
        (lambda g: setattr(g.now.operators[0], "opcodeIndex", 9), "operator code 9 of 4"),
        (lambda g: setattr(g.now.tensors[1], "buffer", 77), "'w0' refers to buffer 77 of 4"),
        (lambda g: g.now.operators.reverse(), "before anything writes it"),
        (lambda g: g.now.operators.append(g.now.operators[0]), "'a' is written twice"),
        (lambda g: g.ends([0], [-2]), "refers to tensor -2"),
        (lambda g: g.model.subgraphs.clear(), "no subgraph"),
    ],
)
def test_numbers_that_make_no_sense(damage, message):
    graph = skip_graph()
    damage(graph)
    with pytest.raises(ModelError, match=message):
        list_cuts(graph.pack())


def test_reference_to_a_missing_subgraph():
    graph = while_graph()
    graph.model.subgraphs.pop()
    with pytest.raises(ModelError, match="WHILE refers to subgraph 3 of 3"):
        list_cuts(graph.pack())


def test_missing_schema_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.schema_py_generated", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "pysplitcodec\[tflite\]"'):
        list_cuts(skip_graph().pack())


def test_importing_the_package_imports_no_runtime():
    code = (
        "import sys, pysplitcodec.splitting;"
        "found = {'ai_edge_litert', 'flatbuffers', 'tflite_runtime', 'torch'} & set(sys.modules);"
        "sys.exit(repr(found) if found else 0)"
    )
    path = os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path)
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})
