"""What the halves of a TFLite model keep of it, and what is refused."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from tflite_models import (
    BOOL,
    FLOAT16,
    INT8,
    INT32,
    OPERATOR,
    RESOURCE,
    Graph,
    assert_exact,
    flatbuffers,
    samples,
    schema,
    skip_graph,
    while_graph,
)

from pysplitcodec.errors import ModelError, SplitError
from pysplitcodec.runtime import TFLiteModel
from pysplitcodec.splitting import list_cuts, read_graph, split


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
    # and an archive behind that
    tail = split(with_files(data, labels="cat"), "a").tail
    assert tail.startswith(split(data, "a").tail)
    assert files(tail) == {"labels.txt": b"cat"}
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


def test_custom_options_behind_the_flatbuffer_are_brought_in():
    graph = custom_graph()
    operator = graph.now.operators[1]
    operator.customOptions = None
    operator.largeCustomOptionsOffset, operator.largeCustomOptionsSize = 2**40, 8
    start = len(graph.pack())
    operator.largeCustomOptionsOffset = start
    data = graph.pack() + b"options!"
    tail = schema.ModelT.InitFromPackedBuf(split(data, "a").tail)
    kept = tail.subgraphs[0].operators[0]
    assert bytes(kept.customOptions) == b"options!"
    assert kept.largeCustomOptionsOffset == kept.largeCustomOptionsSize == 0


def custom_graph() -> Graph:
    """in -> a -> b -> out, where b is computed by the custom operator Turn."""
    graph = Graph()
    x = graph.tensor("in")
    a = graph.add(x, x, "a")
    b = graph.tensor("b")
    graph.op(OPERATOR.CUSTOM, [a], [b])
    graph.model.operatorCodes[-1].customCode = "Turn"
    graph.model.operatorCodes[-1].version = 7
    graph.now.operators[-1].customOptions = list(b"by 90 degrees")
    graph.ends([x], [graph.add(b, b, "out")])
    return graph


def test_custom_operators_are_kept_whole():
    data = custom_graph().pack()
    assert [(cut.name, cut.after) for cut in list_cuts(data)] == [
        ("a", "ADD"),
        ("b", "CUSTOM Turn"),
    ]
    for at, side in (("a", 1), ("b", 0)):
        halves = tuple(split(data, at))
        model = schema.ModelT.InitFromPackedBuf(halves[side])
        (operator,) = (o for o in model.subgraphs[0].operators if o.customOptions is not None)
        assert bytes(operator.customOptions) == b"by 90 degrees"
        code = model.operatorCodes[operator.opcodeIndex]
        assert (code.customCode, code.version) == (b"Turn", 7)
        with pytest.raises(ModelError, match="unresolved custom op: Turn"):
            TFLiteModel(halves[side])
        TFLiteModel(halves[1 - side])


def signature(graph: Graph, key: str, subgraph: int, inputs: dict, outputs: dict) -> None:
    entry = schema.SignatureDefT()
    entry.signatureKey, entry.subgraphIndex = key, subgraph
    entry.inputs = [schema.TensorMapT(*item) for item in inputs.items()]
    entry.outputs = [schema.TensorMapT(*item) for item in outputs.items()]
    graph.model.signatureDefs = [*(graph.model.signatureDefs or []), entry]


def interpreters(graph: Graph, at: object) -> list:
    module = pytest.importorskip("ai_edge_litert.interpreter")
    return [module.Interpreter(model_content=part) for part in split(graph.pack(), at)]


def test_signatures_follow_the_halves():
    graph = skip_graph()
    last = len(graph.now.tensors) - 1
    signature(graph, "serve", 0, {"image": 0}, {"scores": last})
    # What is sent has one name whatever the ends are called.
    signature(graph, "again", 0, {"a": 0}, {"a": last})
    signature(graph, "other", 1, {"image": 0}, {"scores": last})
    graph.subgraph()
    graph.now.tensors = graph.model.subgraphs[0].tensors
    graph.now.operators = graph.model.subgraphs[0].operators
    graph.ends([0], [last])
    head, tail = interpreters(graph, "a")
    assert head.get_signature_list() == {
        "serve": {"inputs": ["image"], "outputs": ["a"]},
        "again": {"inputs": ["a"], "outputs": ["a"]},
    }
    assert tail.get_signature_list() == {
        "serve": {"inputs": ["a"], "outputs": ["scores"]},
        "again": {"inputs": ["a"], "outputs": ["a"]},
    }
    x = np.arange(4, dtype=np.float32).reshape(1, 4)
    feature = head.get_signature_runner("serve")(image=x)
    scores = tail.get_signature_runner("serve")(**feature)["scores"]
    np.testing.assert_array_equal(scores, TFLiteModel(skip_graph().pack())(x)[0])


@pytest.mark.parametrize("names", [("a", "b"), ("same", "same"), (None, None)])
def test_signatures_where_several_tensors_are_sent(names):
    graph = skip_graph()
    signature(graph, "serve", 0, {"image": 0}, {"scores": len(graph.now.tensors) - 1})
    tensors = {tensor.name: tensor for tensor in graph.now.tensors}
    for old, new in zip("ab", names):
        tensors[old].name = new
    cut = read_graph(graph.pack()).list_cuts(tensors=2)[1]
    head, tail = interpreters(graph, cut)
    x = np.arange(4, dtype=np.float32).reshape(1, 4)
    feature = head.get_signature_runner("serve")(image=x)
    assert len(feature) == 2
    assert feature.keys() == set(tail.get_signature_list()["serve"]["inputs"])
    scores = tail.get_signature_runner("serve")(**feature)["scores"]
    np.testing.assert_array_equal(scores, TFLiteModel(skip_graph().pack())(x)[0])


def metadata(graph: Graph, **entries: bytes) -> None:
    graph.model.metadata = []
    for name, data in entries.items():
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, graph.buffer(np.frombuffer(data, np.uint8))
        graph.model.metadata.append(entry)


def kept_metadata(part: bytes) -> dict[str, bytes]:
    model = schema.ModelT.InitFromPackedBuf(part)
    return {
        entry.name.decode(): model.buffers[entry.buffer].data.tobytes()
        for entry in model.metadata or []
    }


def test_metadata_that_stay_true_are_kept():
    graph = skip_graph()
    kept = {"min_runtime_version": b"1.5.0", "llm_parameters": b"anything", "empty": b""}
    numbers = {
        "OfflineMemoryAllocation": bytes(40),
        "model_control_dependencies": b"1",
        "debug_metadata": b"2",
        "buffer_location": b"outside flatbuffers",
    }
    metadata(graph, **kept, **numbers, TFLITE_METADATA=b"of no known form")
    for part in split(graph.pack(), "a"):
        assert kept_metadata(part) == kept


class Description:
    """An entry TFLITE_METADATA under construction, by the slots of metadata_schema.fbs."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(256)

    def table(self, **fields: int) -> int:
        slots = {int(name[1:]): place for name, place in fields.items()}
        self.builder.StartObject(1 + max(slots))
        for slot, place in slots.items():
            self.builder.PrependUOffsetTRelativeSlot(slot, place, 0)
        return self.builder.EndObject()

    def vector(self, *tables: int) -> int:
        self.builder.StartVector(4, len(tables), 4)
        for table in reversed(tables):
            self.builder.PrependUOffsetTRelative(table)
        return self.builder.EndVector()

    def named(self, name: str, *files: str) -> int:
        """A TensorMetadata."""
        tables = [self.table(_0=self.builder.CreateString(file)) for file in files]
        return self.table(_0=self.builder.CreateString(name), _6=self.vector(*tables))

    def pack(self, subgraphs: int = 1) -> bytes:
        ends = [
            self.vector(self.named("picture", "vocabulary.txt", "both.txt")),
            self.vector(self.named("scores", "labels.txt", "both.txt")),
        ]
        made = [self.table(_2=ends[0], _3=ends[1]) for _ in range(subgraphs)]
        # version and subgraphs: a vtable that the subgraphs' tables share
        root = self.table(_2=self.builder.CreateString("v1"), _3=self.vector(*made))
        self.builder.Finish(root, b"M001")
        return bytes(self.builder.Output())


def described(entry: bytes) -> dict[int, list[str]]:
    """Names of the tensors in each of the two vectors of the only subgraph's metadata."""

    def tables(table, slot):
        offset = table.Offset(4 + 2 * slot)
        places = [table.Vector(offset) + 4 * i for i in range(table.VectorLen(offset))]
        return [flatbuffers.table.Table(entry, table.Indirect(place)) for place in places]

    root = flatbuffers.table.Table(entry, int.from_bytes(entry[:4], "little"))
    assert root.String(root.Pos + root.Offset(8)) == b"v1"
    (subgraph,) = tables(root, 3)
    return {
        slot: [
            table.String(table.Pos + table.Offset(4)).decode() for table in tables(subgraph, slot)
        ]
        for slot in (2, 3)
        if subgraph.Offset(4 + 2 * slot)
    }


def files(part: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(part)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def with_files(data: bytes, **contents: str) -> bytes:
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a") as archive:
        for number, (name, content) in enumerate(contents.items()):
            archive.writestr(f"{name}.txt", content, zipfile.ZIP_DEFLATED if number % 2 else None)
    return file.getvalue()


def test_what_describes_the_ends_goes_with_them():
    graph = skip_graph()
    metadata(graph, TFLITE_METADATA=Description().pack())
    contents = {name: name * 100 for name in ("labels", "vocabulary", "both", "nobody")}
    data = with_files(graph.pack(), **contents)
    head, tail = split(data, "a")
    assert described(kept_metadata(head)["TFLITE_METADATA"]) == {2: ["picture"]}
    assert described(kept_metadata(tail)["TFLITE_METADATA"]) == {3: ["scores"]}
    assert files(data).keys() == {f"{name}.txt" for name in contents}
    assert files(head).keys() == {"vocabulary.txt", "both.txt", "nobody.txt"}
    assert files(tail).keys() == {"labels.txt", "both.txt", "nobody.txt"}
    assert {**files(head), **files(tail)} == files(data)
    assert tuple(split(data, "a")) == (head, tail)
    # again, at the other cut: nothing of it is left between
    middle = split(tail, "sum").head
    assert described(kept_metadata(middle)["TFLITE_METADATA"]) == {}
    assert files(middle).keys() == {"nobody.txt"}
    assert len(assert_exact(data)) == 2


def test_metadata_of_several_subgraphs_are_dropped():
    graph = skip_graph()
    metadata(graph, TFLITE_METADATA=Description().pack(subgraphs=2))
    for part in split(with_files(graph.pack(), labels="cat"), "a"):
        assert kept_metadata(part) == {}
        assert files(part) == {"labels.txt": b"cat"}


def test_damaged_metadata_and_archives_are_dropped_or_read():
    entry = Description().pack()
    for place in range(len(entry)):
        for value in (0, 255):
            damaged = bytearray(entry)
            damaged[place] = value
            graph = skip_graph()
            metadata(graph, TFLITE_METADATA=bytes(damaged))
            split(graph.pack(), "a")
    data = with_files(skip_graph().pack(), labels="cat", more="x" * 50)
    wanted = split(skip_graph().pack(), "a")
    start = len(skip_graph().pack())
    dropped = 0
    for place in range(start, len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x81
        dropped += split(damaged, "a") == wanted
    assert dropped > 100
    # 4 GB of zeros, so they say
    bomb = data.replace((50).to_bytes(4, "little"), (2**32 - 2).to_bytes(4, "little"))
    assert bomb != data
    assert split(bomb, "a") == wanted


def test_labels_of_a_real_model_stay_with_its_scores(data_dir):
    path = data_dir / "coral-tflite/mobilenet_v1_0.25_128_quant.tflite"
    labels = (data_dir / "coral-tflite/imagenet_labels.txt").read_bytes()
    head, tail = split(path, 5)
    assert not zipfile.is_zipfile(io.BytesIO(head))
    assert files(tail) == {"imagenet_labels.txt": labels}
    assert b"ImageClassifier" in kept_metadata(head)["TFLITE_METADATA"]


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


@pytest.mark.parametrize("delegates", [True, False])
def test_weights_of_dynamic_range_keep_their_scales(delegates):
    """Floats pass between operators that quantise them as they come, by 8-bit weights' kernels."""
    graph = Graph()
    last = x = graph.tensor("in", (2, 16))
    rng = np.random.default_rng(4)
    for number in range(3):
        integers = rng.integers(-127, 128, (16, 16)).astype(np.int8)
        weights = graph.tensor(f"w{number}", (16, 16), integers, type=INT8)
        scale = 0.01 * (number + 1)
        graph.now.tensors[weights].quantization = schema.QuantizationParametersT(
            scale=[scale], zeroPoint=[0]
        )
        out = graph.tensor(f"t{number}", (2, 16))
        options = schema.FullyConnectedOptionsT(asymmetricQuantizeInputs=True)
        graph.op(OPERATOR.FULLY_CONNECTED, [last, weights, -1], [out], options)
        graph.model.operatorCodes[-1].version = 9
        last = out
    graph.ends([x], [last])
    cuts = assert_exact(graph.pack(), delegates)
    assert [(cut.name, cut.dtype, cut.tensor.scale) for cut in cuts] == [
        ("t0", "float32", None),
        ("t1", "float32", None),
    ]
    (inputs,) = samples(TFLiteModel(graph.pack(), delegates=delegates), 1)
    floats = inputs[0]
    for tensor in graph.now.tensors:
        if tensor.type == INT8:
            weights = graph.model.buffers[tensor.buffer].data.view(np.int8).reshape(16, 16)
            floats = floats @ (weights.T * np.float32(tensor.quantization.scale[0]))
    (got,) = TFLiteModel(graph.pack(), delegates=delegates)(*inputs)
    difference = np.abs(got - floats).max() / np.abs(floats).max()
    assert 1e-5 < difference < 0.05, "not the kernels of quantised inputs"


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


def test_branches_go_with_the_operator_that_takes_them():
    """a = in + in, b = a doubled where its sum is above 10, or else as it is, out = b + b."""
    graph = Graph()
    x = graph.tensor("in")
    a = graph.add(x, x, "a")
    axis = graph.tensor("axis", (2,), np.int32([0, 1]), type=INT32)
    limit = graph.tensor("limit", (), np.float32([10]))
    total, above = graph.tensor("total", ()), graph.tensor("above", (), type=BOOL)
    b = graph.tensor("b")
    graph.op(OPERATOR.SUM, [a, axis], [total], schema.ReducerOptionsT())
    graph.op(OPERATOR.GREATER, [total, limit], [above], schema.GreaterOptionsT())
    graph.op(OPERATOR.IF, [above, a], [b], schema.IfOptionsT(2, 1))
    graph.ends([x], [graph.add(b, b, "out")])
    graph.subgraph()
    value, one = graph.tensor("value"), graph.tensor("one", (1,), np.float32([1]))
    kept = graph.tensor("kept")
    graph.op(OPERATOR.MUL, [value, one], [kept], schema.MulOptionsT())
    graph.ends([value], [kept])
    graph.subgraph()
    value = graph.tensor("value")
    graph.ends([value], [graph.add(value, value, "doubled")])
    data = graph.pack()
    for x, factor in ((1, 4), (2, 8)):
        inputs = np.full((1, 4), x, np.float32)
        np.testing.assert_array_equal(TFLiteModel(data)(inputs)[0], factor * inputs)
        for cut in assert_exact(data):
            head, tail = map(TFLiteModel, split(data, cut))
            np.testing.assert_array_equal(tail(*head(inputs))[0], factor * inputs)
    assert [cut.name for cut in list_cuts(data)] == ["a", "b"]
    subgraphs = [len(schema.ModelT.InitFromPackedBuf(half).subgraphs) for half in split(data, "b")]
    assert subgraphs == [3, 1]


def test_state_outside_the_graph_is_refused():
    graph = skip_graph()
    handle = graph.tensor("handle", (), type=RESOURCE)
    graph.op(OPERATOR.VAR_HANDLE, [], [handle], schema.VarHandleOptionsT("", "counter"))
    with pytest.raises(SplitError, match="VAR_HANDLE operator keeps state outside the graph"):
        list_cuts(graph.pack())
    graph = while_graph()
    graph.now.tensors[0].isVariable = True
    with pytest.raises(SplitError, match="subgraph 3 keeps state"):
        list_cuts(graph.pack())


def test_state_of_other_operators_is_refused():
    """TensorFlow's own operators, which are custom ones, and subgraphs that run once."""
    graph = skip_graph()
    graph.op(OPERATOR.CUSTOM, [], [graph.tensor("handle", (), type=RESOURCE)])
    graph.model.operatorCodes[-1].customCode = "FlexVarHandleOp"
    with pytest.raises(SplitError, match="its CUSTOM FlexVarHandleOp operator keeps state"):
        list_cuts(graph.pack())
    graph = skip_graph()
    graph.op(OPERATOR.CALL_ONCE, [], [], schema.CallOnceOptionsT(1))
    graph.subgraph()
    with pytest.raises(SplitError, match="its CALL_ONCE operator keeps state"):
        list_cuts(graph.pack())


def test_compressed_weights_are_refused():
    graph = skip_graph()
    metadata(graph, COMPRESSION_METADATA=bytes(16))
    with pytest.raises(SplitError, match="its weights are compressed for TensorFlow Lite Micro"):
        split(graph.pack(), "a")
