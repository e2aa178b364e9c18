"""What operators compute: multiply-accumulates, parameters and RAM, against known numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pysplitcodec.splitting import read_graph
from pysplitcodec.splitting.layers import Layers, open_observed, read_layers

onnx = pytest.importorskip("onnx", reason='needs "pysplitcodec[onnx]"')
schema = pytest.importorskip(
    "ai_edge_litert.schema_py_generated", reason='needs "pysplitcodec[tflite]"'
)
flatbuffers = pytest.importorskip("flatbuffers")


def layers_of(model: bytes | Path) -> Layers:
    graph = read_graph(model)
    return read_layers(graph, graph.list_cuts())


def onnx_model(text: str, opsets: str = '"" : 17') -> bytes:
    """A model of ONNX's text format; tensors declared in <> without values are weights of ones."""
    model = onnx.parser.parse_model(f"<ir_version: 8, opset_import: [{opsets}]> {text}")
    for value in model.graph.value_info:
        kind = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        ones = np.ones([d.dim_value for d in kind.shape.dim], dtype)
        model.graph.initializer.append(onnx.numpy_helper.from_array(ones, value.name))
    del model.graph.value_info[:]
    return model.SerializeToString()


def macs_of(layers: Layers) -> int | None:
    return layers.macs(range(len(layers.operators)))


# ------------------------------------------------------------------ ONNX: by hand

MICROSOFT = '"" : 17, "com.microsoft" : 1'
# Text of a graph -> multiply-accumulates, as the definition of the operator gives them.
ONNX_MACS = {
    "Conv": (
        """(float[1, 4, 9, 9] x) => (float[1, 6, 4, 4] y) <float[6, 4, 3, 3] w>
        { y = Conv<strides=[2, 2]>(x, w) }""",
        6 * 4 * 4 * (4 * 3 * 3),
    ),
    "Conv, dilated": (
        """(float[1, 4, 9, 9] x) => (float[1, 6, 5, 5] y) <float[6, 4, 3, 3] w>
        { y = Conv<dilations=[2, 2]>(x, w) }""",
        6 * 5 * 5 * (4 * 3 * 3),
    ),
    "Conv, grouped": (
        """(float[1, 4, 9, 9] x) => (float[1, 6, 7, 7] y) <float[6, 2, 3, 3] w>
        { y = Conv<group=2>(x, w) }""",
        6 * 7 * 7 * (2 * 3 * 3),
    ),
    "Conv, depthwise": (
        """(float[1, 4, 9, 9] x) => (float[1, 4, 7, 7] y) <float[4, 1, 3, 3] w>
        { y = Conv<group=4>(x, w) }""",
        4 * 7 * 7 * (3 * 3),
    ),
    "Conv, three dimensions": (
        """(float[1, 2, 5, 6, 7] x) => (float[1, 3, 4, 5, 6] y) <float[3, 2, 2, 2, 2] w>
        { y = Conv(x, w) }""",
        3 * 4 * 5 * 6 * (2 * 2 * 2 * 2),
    ),
    "ConvTranspose": (
        """(float[1, 4, 5, 5] x) => (float[1, 6, 11, 11] y) <float[4, 3, 3, 3] w>
        { y = ConvTranspose<strides=[2, 2], group=2>(x, w) }""",
        4 * 5 * 5 * (3 * 3 * 3),
    ),
    "Gemm": (
        """(float[7, 3] x) => (float[3, 5] y) <float[5, 7] w>
        { y = Gemm<transA=1, transB=1>(x, w) }""",
        3 * 5 * 7,
    ),
    "MatMul": (
        """(float[2, 8, 3, 7] x, float[7, 5] w) => (float[2, 8, 3, 5] y) { y = MatMul(x, w) }""",
        2 * 8 * 3 * 5 * 7,
    ),
    "MatMul of vectors": (
        """(float[7] x, float[7] w) => (float y) { y = MatMul(x, w) }""",
        7,
    ),
    "Einsum": (
        """(float[2, 3, 5] x, float[2, 7, 5] w) => (float[2, 3, 7] y)
        { y = Einsum<equation="bij, bkj -> bik">(x, w) }""",
        2 * 3 * 7 * 5,
    ),
    "Einsum with dots": (
        """(float[4, 2, 3, 5] x, float[2, 5, 7] w) => (float[4, 2, 3, 7] y)
        { y = Einsum<equation="...ij,...jk->...ik">(x, w) }""",
        4 * 2 * 3 * 5 * 7,
    ),
    "Einsum of one": (
        """(float[3, 5] x) => (float[3] y) { y = Einsum<equation="ij->i">(x) }""",
        0,
    ),
    "LSTM": (
        """(float[9, 2, 5] x) => (float[9, 1, 2, 6] y)
        <float[1, 24, 5] w, float[1, 24, 6] r> { y = LSTM<hidden_size=6>(x, w, r) }""",
        9 * 2 * (24 * 5 + 24 * 6),
    ),
    "GRU both ways": (
        """(float[9, 2, 5] x) => (float[9, 2, 2, 6] y) <float[2, 18, 5] w, float[2, 18, 6] r>
        { y = GRU<hidden_size=6, direction="bidirectional">(x, w, r) }""",
        9 * 2 * 2 * (18 * 5 + 18 * 6),
    ),
    "RNN": (
        """(float[9, 2, 5] x) => (float[9, 1, 2, 6] y)
        <float[1, 6, 5] w, float[1, 6, 6] r> { y = RNN<hidden_size=6>(x, w, r) }""",
        9 * 2 * (6 * 5 + 6 * 6),
    ),
    "QLinearConv": (
        """(uint8[1, 4, 9, 9] x) => (uint8[1, 6, 7, 7] y)
        <float s = {0.1}, uint8 z = {0}, uint8[6, 4, 3, 3] w>
        { y = QLinearConv(x, s, z, w, s, z, s, z) }""",
        6 * 7 * 7 * (4 * 3 * 3),
    ),
    "ConvInteger": (
        """(uint8[1, 4, 9, 9] x) => (int32[1, 6, 7, 7] y) <uint8[6, 4, 3, 3] w>
        { y = ConvInteger(x, w) }""",
        6 * 7 * 7 * (4 * 3 * 3),
    ),
    "QLinearMatMul": (
        """(uint8[3, 7] x) => (uint8[3, 5] y) <float s = {0.1}, uint8 z = {0}, uint8[7, 5] w>
        { y = QLinearMatMul(x, s, z, w, s, z, s, z) }""",
        3 * 5 * 7,
    ),
    "MatMulInteger": (
        """(uint8[3, 7] x) => (int32[3, 5] y) <uint8[7, 5] w> { y = MatMulInteger(x, w) }""",
        3 * 5 * 7,
    ),
    "what has no products": (
        """(float[1, 4, 8, 8] x) => (float[1, 4, 1, 1] y)
        { a = Relu(x) b = MaxPool<kernel_shape=[2, 2]>(a) c = Add(b, b)
          y = GlobalAveragePool(c) }""",
        0,
    ),
    "branches without products": (
        """(float[4] x, bool c) => (float[4] y) {
            y = If(c) <then_branch = t () => (float[4] a) { a = Relu(x) },
                       else_branch = e () => (float[4] b) { b = Neg(x) }> }""",
        0,
    ),
    "a batch of any size counts once": (
        """(float[N, 7] x) => (float[N, 5] y) <float[7, 5] w> { y = MatMul(x, w) }""",
        7 * 5,
    ),
}


@pytest.mark.parametrize("name", ONNX_MACS)
def test_macs_of_onnx_nodes(name):
    text, macs = ONNX_MACS[name]
    assert macs_of(layers_of(onnx_model("g " + text))) == macs


def test_macs_of_attention():
    text = """g (float[1, 8, 10, 16] q, float[1, 2, 12, 16] k, float[1, 2, 12, 4] v)
    => (float[1, 8, 10, 4] y) { y = Attention(q, k, v) }"""
    layers = layers_of(onnx_model(text, '"" : 23'))
    assert macs_of(layers) == 8 * 10 * 12 * 16 + 8 * 10 * 12 * 4


def test_macs_of_nodes_of_onnx_runtime():
    text = """g (float[1, 5, 6] x) => (float[1, 5, 6] y)
    <float[6, 18] w, float[18] b, float[6, 6] m>
    {
        a = com.microsoft.Attention<num_heads=2>(x, w, b)
        c = com.microsoft.FusedMatMul<transB=1>(a, m)
        y = com.microsoft.Gelu(c)
    }"""
    layers = layers_of(onnx_model(text, MICROSOFT))
    found = {operator.kind.rpartition(":")[2]: operator.macs for operator in layers.operators}
    assert found == {
        "Attention": 5 * 6 * 18 + 2 * 5 * 5 * 6,
        "FusedMatMul": 5 * 6 * 6,
        "Gelu": 0,
    }


def test_macs_inside_local_functions():
    text = """g (float[3, 7] x) => (float[3, 5] y) <float[7, 5] w>
    { a = local.twice(x, w) y = Relu(a) }
    <domain: "local", opset_import: ["" : 17, "local" : 1]>
    twice (x, w) => (y) { a = MatMul(x, w) b = local.once(x, w) y = Add(a, b) }
    <domain: "local", opset_import: ["" : 17, "local" : 1]>
    once (x, w) => (y) { y = MatMul(x, w) }"""
    layers = layers_of(onnx_model(text, '"" : 17, "local" : 1'))
    assert [operator.macs for operator in layers.operators] == [2 * 3 * 5 * 7, 0]
    assert layers.params(range(2)) == 35


UNKNOWN = {
    "a loop of who knows how many rounds": """g (float[3, 3] x, int64 n, bool c)
        => (float[3, 3] y) {
        y = Loop(n, c, x) <body = b (int64 i, bool k, float[3, 3] s) => (bool k2, float[3, 3] t)
        { k2 = Identity(k) t = MatMul(s, s) }> }""",
    "an image of any size": """g (float[1, 3, H, W] x) => (float[1, 8, H, W] y)
        <float[8, 3, 1, 1] w> { y = Conv(x, w) }""",
    "a number of rows that values decide": """g (float[9, 7] x) => (float[M, 5] y)
        <float[7, 5] w, int64[2] s = {-1, 7}>
        { i = NonZero(x) t = Transpose(i) c = Cast<to=1>(t) r = Flatten<axis=0>(c)
          e = Expand(r, s) y = MatMul(e, w) }""",
    "a transform": """g (float[1, 8, 1] x) => (float[1, 8, 2] y) { y = DFT(x) }""",
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_macs_that_cannot_be_told_are_not_guessed(name):
    layers = layers_of(onnx_model(UNKNOWN[name]))
    assert macs_of(layers) is None
    unknown = {operator.kind for operator in layers.operators if operator.macs is None}
    assert unknown <= {"Loop", "Conv", "MatMul", "DFT"} and len(unknown) == 1


def test_custom_operators_are_not_guessed():
    text = """g (float[3, 7] x) => (float[3, 5] y) <float[7, 5] w>
    { a = Relu(x) b = elsewhere.Mystery(a) y = MatMul(a, w) }"""
    text = text.replace("=> (float[3, 5] y)", "=> (float[3, 5] y, float[3, 7] b)")
    layers = layers_of(onnx_model(text, '"" : 17, "elsewhere" : 1'))
    assert [operator.macs for operator in layers.operators] == [0, None, 105]
    assert macs_of(layers) is None


# ------------------------------------------------------------------ parameters and RAM

SKIP = """g (float[1, 10] x) => (float[1, 3] y)
<float[10, 20] w0, float[20, 20] w1, float[20, 3] w2, int64[2] shape = {1, 20}>
{
    a = MatMul(x, w0)
    b = MatMul(a, w1)
    c = MatMul(b, w1)
    d = Reshape(c, shape)
    e = Add(a, d)
    y = MatMul(e, w2)
}"""


def test_parameters_are_counted_once_and_shapes_are_none():
    layers = layers_of(onnx_model(SKIP))
    assert [cut.name for cut in layers.cuts] == ["a", "e"]
    assert layers.params(range(6)) == 200 + 400 + 60
    assert layers.weight_bytes(range(6)) == 4 * 660
    assert layers.params(layers.heads[0]) == 200
    assert layers.params(layers.tail(0)) == 460
    assert layers.macs(layers.heads[1]) == 200 + 2 * 400
    assert layers.macs(layers.tail(1)) == 60
    assert [layers.sources(i) for i in range(6)] == [[-1], [0], [1], [2], [0, 3], [4]]


def test_ram_of_the_head():
    """At a: x, a.  At e: a waits while b, c and d come one after another."""
    layers = layers_of(onnx_model(SKIP))
    assert layers.head_ram_bytes(0) == 4 * (10 + 20)
    assert layers.head_ram_bytes(1) == 4 * (20 + 20 + 20)


def test_ram_keeps_what_is_sent_early():
    """Cut at two tensors: a is there from the start to the end."""
    graph = read_graph(onnx_model(SKIP))
    cut = graph.split(["a", "c"]).cut
    layers = read_layers(graph, [cut])
    assert layers.head_ram_bytes(0) == 4 * 60
    assert layers.heads[0] == (0, 1, 2) and layers.tail(0) == (3, 4, 5)


def test_ram_of_unknown_sizes_is_not_guessed():
    text = UNKNOWN["an image of any size"].replace("y = Conv(x", "z = Relu(x) y = Conv(z")
    layers = layers_of(onnx_model(text))
    assert layers.head_ram_bytes(0) is None


def test_constants_that_nodes_compute():
    text = """g (float[1, 4] x) => (float[1, 2] y) <int8[4, 2] q, float s = {0.5}>
    { w = DequantizeLinear(q, s) a = Relu(x) y = MatMul(a, w) }"""
    layers = layers_of(onnx_model(text))
    assert [operator.kind for operator in layers.operators] == ["Relu", "MatMul"]
    assert layers.params(range(2)) == 8
    assert layers.weight_bytes(range(2)) == 8 + 4  # as they are stored, with the scale


# ------------------------------------------------------------------ TFLite: by hand

FLOAT32 = 0


def tflite_model(code, inputs, output, options=None, shape_signature=None) -> bytes:
    """One operator; of `inputs`, shapes are inputs of the model and arrays are constants."""
    model, subgraph, operator = schema.ModelT(), schema.SubGraphT(), schema.OperatorT()
    model.version, model.buffers = 3, [schema.BufferT()]
    model.operatorCodes = [schema.OperatorCodeT()]
    model.operatorCodes[0].builtinCode = code
    model.operatorCodes[0].deprecatedBuiltinCode = min(code, 127)
    model.subgraphs, subgraph.tensors, subgraph.operators = [subgraph], [], [operator]
    for number, given in enumerate([*inputs, output]):
        tensor = schema.TensorT()
        tensor.name, tensor.type = f"t{number}", FLOAT32
        tensor.shape = list(np.shape(given) if isinstance(given, np.ndarray) else given)
        if isinstance(given, np.ndarray):
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(given.tobytes(), np.uint8)
            tensor.buffer = len(model.buffers)
            tensor.type = 2 if given.dtype == np.int32 else FLOAT32
            model.buffers.append(buffer)
        else:
            tensor.shapeSignature = shape_signature
        subgraph.tensors.append(tensor)
    operator.opcodeIndex, operator.inputs = 0, list(range(len(inputs)))
    operator.outputs = subgraph.outputs = [len(inputs)]
    if options is not None:
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__[:-1])
        operator.builtinOptions = options
    subgraph.inputs = [i for i, given in enumerate(inputs) if not isinstance(given, np.ndarray)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def floats(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def adjoint() -> object:
    options = schema.BatchMatMulOptionsT()
    options.adjX = True
    return options


OPERATOR = schema.BuiltinOperator
TFLITE_MACS = {
    "CONV_2D": ([(1, 9, 9, 4), floats(6, 3, 3, 4)], (1, 7, 7, 6), 7 * 7 * 6 * 36),
    "CONV_2D, grouped": ([(1, 9, 9, 4), floats(6, 3, 3, 2)], (1, 7, 7, 6), 7 * 7 * 6 * 18),
    "DEPTHWISE_CONV_2D": ([(1, 9, 9, 4), floats(1, 3, 3, 8)], (1, 7, 7, 8), 7 * 7 * 8 * 9),
    "CONV_3D": ([(1, 5, 6, 7, 2), floats(2, 2, 2, 2, 3)], (1, 4, 5, 6, 3), 4 * 5 * 6 * 3 * 16),
    "TRANSPOSE_CONV": (
        [np.int32([1, 11, 11, 6]), floats(6, 3, 3, 4), (1, 5, 5, 4)],
        (1, 11, 11, 6),
        5 * 5 * 4 * 3 * 3 * 6,
    ),
    "FULLY_CONNECTED": ([(3, 7), floats(5, 7)], (3, 5), 3 * 5 * 7),
    "BATCH_MATMUL": ([(2, 7, 3), (2, 7, 5)], (2, 3, 5), 2 * 3 * 5 * 7),
    "SVDF": (
        [(2, 10), floats(6, 10), floats(6, 4), floats(3), (2, 24)],
        (2, 3),
        2 * (6 * 10 + 6 * 4),
    ),
    "ADD": ([(2, 7), (2, 7)], (2, 7), 0),
}


@pytest.mark.parametrize("name", TFLITE_MACS)
def test_macs_of_tflite_operators(name):
    inputs, output, macs = TFLITE_MACS[name]
    kind = name.partition(",")[0]
    options = adjoint() if kind == "BATCH_MATMUL" else None
    data = tflite_model(getattr(OPERATOR, kind), inputs, output, options)
    layers = layers_of(data)
    assert [operator.kind for operator in layers.operators] == [kind]
    assert macs_of(layers) == macs
    weights = [
        given for given in inputs if isinstance(given, np.ndarray) and given.dtype.kind == "f"
    ]
    assert layers.params([0]) == sum(weight.size for weight in weights)
    assert layers.weight_bytes([0]) == sum(weight.nbytes for weight in weights)


def test_tflite_shapes_that_are_open():
    model = (OPERATOR.CONV_2D, [(1, 1, 1, 4), floats(6, 3, 3, 4)], (1, 1, 1, 6))
    assert macs_of(layers_of(tflite_model(*model, shape_signature=[1, -1, -1, 4]))) is None
    assert macs_of(layers_of(tflite_model(*model, shape_signature=[-1, 1, 1, 4]))) == 6 * 36


# ------------------------------------------------------------------ published numbers

# Model -> MACs and parameters.  MLPerf Tiny: Banbury et al. 2021, table 1 and the models' pages
# (12.5 M, 7.5 M, 0.264 M MACs); MobileNets: Howard et al. 2017, Sandler et al. 2018 (300 M), whose
# tables give 14 M for 0.25 at 128 and 233 M, without the last layers' biases, for 0.75 at 192.
PUBLISHED = {
    "mlperf-tiny-tflite/resnet8_cifar10_fp32": (12_501_632, 77_706),
    "mlperf-tiny-tflite/resnet8_cifar10_int8": (12_501_632, 77_706),
    "mlperf-tiny-tflite/vww_mobilenetv1_96_fp32": (7_489_664, None),
    "mlperf-tiny-tflite/vww_mobilenetv1_96_int8": (7_489_664, None),
    "mlperf-tiny-tflite/ad01_autoencoder_int8": (264_192, None),
    "coral-tflite/mobilenet_v2_1.0_224_quant": (300_775_552, None),
    "coral-tflite/tf2_mobilenet_v2_1.0_224_ptq": (300_775_552, None),
    "coral-tflite/mobilenet_v1_0.25_128_quant": (13_570_304, None),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_tflite_models(name, data_dir):
    path = data_dir / f"{name}.tflite"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    macs, params = PUBLISHED[name]
    layers = layers_of(path)
    everything = range(len(layers.operators))
    assert macs_of(layers) == macs
    assert params is None or layers.params(everything) == params
    for number, cut in enumerate(layers.cuts):
        assert cut.index == number
        head, tail = layers.heads[number], layers.tail(number)
        assert sorted(head + tail) == list(everything)
        assert layers.macs(head) + layers.macs(tail) == macs
        assert layers.params(head) + layers.params(tail) == layers.params(everything)
        assert layers.head_ram_bytes(number) >= cut.nbytes


# Models in the package onnx -> billions of MACs and millions of parameters.
ARCHITECTURES = {
    "light_bvlc_alexnet": (0.655, 60.97),
    "light_densenet121": (2.834, 8.146),
    "light_resnet50": (4.089, 25.610),
    "light_squeezenet": (0.349, 1.235),
    "light_vgg19": (19.632, 143.667),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_published_architectures(name):
    path = Path(onnx.__file__).parent / "backend/test/data/light" / f"{name}.onnx"
    if not path.exists():
        pytest.skip("this version of onnx comes without its test models")
    layers = layers_of(path)
    macs, params = ARCHITECTURES[name]
    assert macs_of(layers) / 1e9 == pytest.approx(macs, abs=0.0005)
    assert layers.params(range(len(layers.operators))) / 1e6 == pytest.approx(params, abs=0.005)


def test_all_features_of_one_run_are_those_of_the_heads(data_dir):
    path = data_dir / "mlperf-tiny-tflite" / "resnet8_cifar10_int8.tflite"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    from pysplitcodec.runtime import open_model

    graph = read_graph(path)
    cuts = graph.list_cuts()
    runner = open_observed(graph, cuts)
    given = np.random.default_rng(0).integers(-128, 128, (1, 32, 32, 3)).astype(np.int8)
    for cut, feature in zip(cuts, runner(given)):
        head = open_model(graph.split(cut).head)
        np.testing.assert_array_equal(head(given)[0], feature)
