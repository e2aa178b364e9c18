"""Splitting ONNX models: the halves together compute what the whole does, bit for bit."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from split_models import onnx_file, write_with_random_weights

from pysplitcodec.errors import ArgumentError, MissingDependencyError, ModelError, SplitError
from pysplitcodec.runtime import OnnxModel, model_format, open_model
from pysplitcodec.splitting import (
    Cut,
    Split,
    Tensor,
    list_cuts,
    read_graph,
    split,
    verify,
    verify_all,
)
from pysplitcodec.splitting.verify import random_inputs

onnx = pytest.importorskip("onnx", reason='needs "pysplitcodec[onnx]"')
pytest.importorskip("onnxruntime", reason='needs "pysplitcodec[onnx]"')
helper = onnx.helper

OPSET = [helper.make_opsetid("", 17)]
# Fusion crosses a cut: what ONNX Runtime may change of the largest output of a float model.
FUSED = 3e-6


def parsed(text: str, opsets: str = '"" : 17', ir_version: int = 8) -> onnx.ModelProto:
    return onnx.parser.parse_model(f"<ir_version: {ir_version}, opset_import: [{opsets}]> {text}")


def packed(text: str, opsets: str = '"" : 17', ir_version: int = 8) -> bytes:
    return parsed(text, opsets, ir_version).SerializeToString()


# in -> a -> b -> sum = a + b -> out
SKIP = """
skip (float[N, 4] in) => (float[N, 4] out)
<float[4] w0 = {0.1, 0.2, 0.3, 0.4}, float[4] w1 = {1.1, 1.2, 1.3, 1.4}>
{
    a = Add(in, w0)
    b = Mul(a, w1)
    sum = Add(a, b)
    out = Tanh(sum)
}
"""


class Network:
    """A convolutional network under construction."""

    def __init__(self, batch: int | str = "batch", size: int = 16) -> None:
        self.rng = np.random.default_rng(6)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.input = helper.make_tensor_value_info("image", 1, [batch, 3, size, size])
        self.batch = batch

    def weight(self, name: str, shape: tuple[int, ...], scale: float = 1.0) -> str:
        values = (scale * self.rng.standard_normal(shape)).astype(np.float32)
        self.weights.append(onnx.numpy_helper.from_array(values, name))
        return name

    def op(self, kind: str, name: str, *inputs: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name, **attributes))
        return name

    def conv(self, name: str, x: str, channels: tuple[int, int], stride: int = 1) -> str:
        before, after = channels
        weight = self.weight(f"{name}.weight", (after, before, 3, 3), (9 * before) ** -0.5)
        bias = self.weight(f"{name}.bias", (after,), 0.1)
        y = self.op("Conv", name, x, weight, bias, pads=[1, 1, 1, 1], strides=[stride, stride])
        mean = self.weight(f"{name}.mean", (after,), 0.1)
        variance = f"{name}.variance"
        values = self.rng.uniform(0.5, 1.5, after).astype(np.float32)
        self.weights.append(onnx.numpy_helper.from_array(values, variance))
        scale, shift = self.weight(f"{name}.scale", (after,)), self.weight(f"{name}.b", (after,))
        return self.op("BatchNormalization", f"{name}.norm", y, scale, shift, mean, variance)

    def block(self, name: str, x: str, channels: tuple[int, int], stride: int = 1) -> str:
        y = self.op("Relu", f"{name}.relu1", self.conv(f"{name}.conv1", x, channels, stride))
        y = self.conv(f"{name}.conv2", y, (channels[1], channels[1]))
        if channels[0] != channels[1] or stride > 1:
            x = self.conv(f"{name}.down", x, channels, stride)
        return self.op("Relu", name, self.op("Add", f"{name}.add", y, x))

    def model(self, outputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "network", [self.input], outputs, self.weights)
        return helper.make_model(graph, opset_imports=OPSET, ir_version=8)


def resnet(batch: int | str = "batch") -> onnx.ModelProto:
    """The shape of a ResNet-18: a stem, eight blocks, and a flatten that exporters write."""
    net = Network(batch)
    x = net.op("Relu", "stem", net.conv("stem.conv", "image", (3, 8)))
    x = net.op("MaxPool", "pool", x, kernel_shape=[2, 2], strides=[2, 2])
    channels = 8
    for number in range(8):
        stride = 2 if number in (2, 4) else 1
        x = net.block(f"layer{number}", x, (channels, channels * stride), stride)
        channels *= stride
    x = net.op("GlobalAveragePool", "mean", x)
    net.weights += [
        onnx.numpy_helper.from_array(np.int64(0), "zero"),
        onnx.numpy_helper.from_array(np.int64([-1]), "minus one"),
        onnx.numpy_helper.from_array(np.int64([0]), "axis"),
    ]
    size = net.op("Gather", "batch size", net.op("Shape", "shape", x), "zero")
    target = net.op("Concat", "target", net.op("Unsqueeze", "s", size, "axis"), "minus one", axis=0)
    x = net.op("Reshape", "flat", x, target)
    weight = net.weight("fc.weight", (channels, 10), 0.2)
    net.op("MatMul", "logits", x, weight)
    return net.model([helper.make_tensor_value_info("logits", 1, [batch, 10])])


def samples(model: OnnxModel, batch: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(20)
    return [
        rng.standard_normal((batch, *info.shape[1:])).astype(info.dtype) for info in model.inputs
    ]


def assert_exact(data: bytes) -> list[Cut]:
    """Split `data` at every cut and compare the halves with the whole; return the cuts."""
    cuts = list_cuts(data)
    assert [cut.index for cut in cuts] == list(range(len(cuts)))
    whole = OnnxModel(data)
    for cut in cuts:
        halves = split(data, cut)
        assert halves.cut == cut
        for half in halves:
            onnx.checker.check_model(half, full_check=True)
        head, tail = map(OnnxModel, halves)
        assert head.inputs == whole.inputs
        assert tail.outputs == whole.outputs
        assert [info.name for info in (*head.outputs, *tail.inputs)] == [cut.name] * 2
        assert tail.inputs[0].dtype == cut.dtype
        difference = verify(data, halves)
        assert difference.identical, (cut, difference)
        assert verify(data, halves, optimise=True).relative <= FUSED
    return cuts


def test_every_cut_of_a_network_is_exact():
    model = resnet()
    data = model.SerializeToString()
    cuts = assert_exact(data)
    # each node of the stem, the end of each block and its sum, and the head but for what the
    # flatten reads past: shape, s, batch size and target
    blocks = [name for i in range(8) for name in (f"layer{i}.add", f"layer{i}")]
    stem = ["stem.conv", "stem.conv.norm", "stem", "pool"]
    assert [cut.name for cut in cuts] == [*stem, *blocks, "mean", "flat"]
    by_name = {cut.name: cut for cut in cuts}
    assert by_name["layer3"].shape == (1, 16, 4, 4)
    assert by_name["layer3"].nbytes == 4 * 16 * 16
    assert (by_name["flat"].shape, by_name["flat"].dtype) == ((1, 32), "float32")
    assert by_name["stem"].after == "Relu"
    assert by_name["stem"].operators_before == 3


# Models in the package onnx -> cuts.
ARCHITECTURES = {
    "densenet121": 87,
    "inception_v1": 25,
    "resnet50": 39,
    "shufflenet": 39,
    "squeezenet": 33,
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n == "resnet50" else n for n in ARCHITECTURES],
)
def test_known_architectures(name, tmp_path):
    """As exporters wrote them, but for the weights: with equal ones all inputs were alike."""
    if not onnx_file(name).exists():
        pytest.skip("this version of onnx comes without its test models")
    path = tmp_path / "model.onnx"
    write_with_random_weights(onnx_file(name), path)
    whole = open_model(path, optimise=False)
    first, second = (whole(*inputs)[0] for inputs in random_inputs(whole))
    assert not np.array_equal(first, second)
    graph = read_graph(path)
    cuts = graph.list_cuts()
    assert len(cuts) == len(list_cuts(onnx_file(name))) == ARCHITECTURES[name]
    chosen = cuts[:: len(cuts) // 3]
    halves = [graph.split(cut) for cut in chosen]
    assert all(difference.identical for difference in verify_all(path, halves))
    for cut, (head, tail) in zip(chosen, halves):
        assert len(list_cuts(head)) == cut.index
        assert len(list_cuts(tail)) == len(cuts) - cut.index - 1


def test_inputs_of_the_exactness_test_matter():
    """Were all outputs alike, comparing them would show nothing."""
    data = resnet().SerializeToString()
    model = OnnxModel(data)
    rng = np.random.default_rng(1)
    first, second = (
        model(rng.standard_normal((1, 3, 16, 16)).astype(np.float32))[0] for _ in range(2)
    )
    assert not np.array_equal(first, second)
    halves = split(data, "layer3")
    other = onnx.load_model_from_string(halves.tail)
    weight = next(t for t in other.graph.initializer if t.name == "fc.weight")
    weight.raw_data = (onnx.numpy_helper.to_array(weight) + np.float32(0.01)).tobytes()
    wrong = Split(halves.head, other.SerializeToString(), halves.cut)
    difference = verify(data, wrong)
    assert not difference.identical
    assert difference.largest > 1e-3
    assert difference.relative > 1e-3


def test_the_batch_stays_free():
    data = resnet().SerializeToString()
    whole = OnnxModel(data, optimise=False)
    for name in ("stem", "layer4", "flat"):
        head, tail = (OnnxModel(half, optimise=False) for half in split(data, name))
        for batch in (1, 3):
            inputs = samples(whole, batch)
            (feature,) = head(*inputs)
            assert feature.shape[0] == batch
            np.testing.assert_array_equal(tail(feature)[0], whole(*inputs)[0])
        end = onnx.load_model_from_string(split(data, name).tail).graph.input[0]
        assert not end.type.tensor_type.shape.dim[0].HasField("dim_value")
    fixed = resnet(2).SerializeToString()
    assert {cut.shape[0] for cut in assert_exact(fixed)} == {2}


def test_weights_are_only_where_they_are_used():
    model = resnet()
    data = model.SerializeToString()
    head, tail = map(onnx.load_model_from_string, split(data, "layer3"))
    in_head, in_tail = ({t.name for t in half.graph.initializer} for half in (head, tail))
    assert in_head | in_tail == {t.name for t in model.graph.initializer}
    assert not in_head & in_tail
    assert "layer3.conv1.weight" in in_head
    assert "layer4.conv1.weight" in in_tail
    assert len(head.graph.node) + len(tail.graph.node) == len(model.graph.node)


def test_cuts_around_a_skip_connection():
    data = packed(SKIP)
    cuts = assert_exact(data)
    assert [(c.name, c.after, c.operators_before) for c in cuts] == [
        ("a", "Add", 1),
        ("sum", "Add", 3),
    ]
    assert cuts[0].shape == (1, 4)
    assert (cuts[0].elements, cuts[0].nbytes) == (4, 16)
    assert split(data, 1) == split(data, "sum") == split(data, cuts[1]) == split(data, np.int64(1))
    head, tail = split(data, "a")
    assert (len(list_cuts(head)), len(list_cuts(tail))) == (0, 1)


def random_model(rng: random.Random) -> tuple[bytes, list[str]]:
    """A graph of random nodes, some constant, some random, and its cuts by the definition."""
    inputs = [f"in{i}" for i in range(rng.randint(1, 2))]
    needs: dict[str, set[str]] = {t: set() for t in [*inputs, "w"]}
    constant, reads, nodes = {"w"}, {}, []
    for number in range(rng.randint(2, 12)):
        name = f"t{number}"
        if rng.random() < 0.1:
            nodes.append(f"{name} = RandomUniform <shape = [4], seed = 1.0> ()")
            reads[name] = []
        else:
            reads[name] = rng.choices(list(needs)[-rng.randint(1, 4) :], k=2)
            nodes.append(f"{name} = Add({', '.join(reads[name])})")
            if set(reads[name]) <= constant:
                constant.add(name)
        needs[name] = {name}.union(*(needs[t] for t in reads[name]))
    out = list(needs)[-1]
    live = needs[out] - constant
    order = list(needs)
    wanted = []
    for cut in order:
        head = needs[cut]
        sent = {t for r in live - head for t in reads[r] if t in head or t in inputs} - constant
        varying = [t for t in sent if any(i in inputs for n in needs[t] for i in reads[n])]
        if cut in sent and len(varying) == len(sent):
            wanted.append(sorted(sent, key=order.index))
    given = ", ".join(f"float[4] {name}" for name in inputs)
    body = "\n".join(nodes)
    text = f"g ({given}) => (float[4] {out}) <float[4] w = {{1, 2, 3, 4}}> {{ {body} }}"
    return packed(text), wanted


@pytest.mark.parametrize("seed", range(150))
def test_cuts_of_random_graphs(seed):
    """The cuts are those of the definition, worked out with plain sets."""
    data, wanted = random_model(random.Random(seed))
    graph = read_graph(data)
    for most in (1, 2):
        cuts = graph.list_cuts(most)
        assert [[tensor.name for tensor in cut.tensors] for cut in cuts] == [
            names for names in wanted if len(names) <= most
        ]
    for cut in cuts:
        halves = graph.split(cut)
        for half in halves:
            onnx.checker.check_model(half, full_check=True)
        # Random nodes draw in another order in a half of the model.
        if b"RandomUniform" not in data:
            assert verify(data, halves).identical


def test_random_graphs_are_worth_it():
    """Among them are graphs with cuts, without, and with cuts that random nodes are behind."""
    found = [random_model(random.Random(seed)) for seed in range(150)]
    single = [(data, [names for names in cuts if len(names) == 1]) for data, cuts in found]
    assert sum(not cuts for _, cuts in single) > 10
    assert sum(len(cuts) > 1 for _, cuts in single) > 10
    assert sum(bool(cuts) and b"RandomUniform" in data for data, cuts in single) > 3
    assert sum(len(names) == 2 for _, cuts in found for names in cuts) > 10


def test_several_tensors():
    data = packed(SKIP)
    halves = split(data, ["b", "a"])
    assert halves.cut.index == -1
    assert [tensor.name for tensor in halves.cut.tensors] == ["a", "b"]
    assert [info.name for info in OnnxModel(halves.head).outputs] == ["a", "b"]
    assert verify(data, halves).identical
    assert split(data, ["sum"]).tail == split(data, "sum").tail
    with pytest.raises(SplitError, match=r"cutting at 'b' would send 2 tensors \('a', 'b'\)"):
        split(data, ["b"])
    with pytest.raises(SplitError, match="'b' need not be sent"):
        split(data, ["sum", "b"])
    with pytest.raises(SplitError, match="nothing named 'bb'"):
        split(data, ["a", "bb"])
    with pytest.raises(SplitError, match="'in' is an input"):
        split(data, ["in", "a"])
    for at in ([], [1]):
        with pytest.raises(ArgumentError, match="names of the tensors"):
            split(data, at)


def test_several_outputs():
    data = packed("""
    g (float[4] x) => (float[2] small, float[4] early, float[4] late)
    {
        a = Relu(x)
        early = Neg(a)
        b = Exp(a)
        left, right = Split(b)
        small = Add(left, right)
        late = Tanh(b)
    }
    """)
    assert [cut.name for cut in assert_exact(data)] == ["a"]
    with pytest.raises(SplitError, match=r"'b' would send 2 tensors \('a', 'b'\)"):
        split(data, "b")
    with pytest.raises(SplitError, match="'early' is an output"):
        split(data, "early")
    assert verify(data, split(data, ["a", "b"])).identical


def test_an_input_that_the_tail_needs_too():
    data = packed("""
    g (float[4] x, float[4] y) => (float[4] out)
    {
        a = Relu(x)
        b = Add(a, y)
        c = Neg(b)
        out = Exp(c)
    }
    """)
    assert [cut.name for cut in assert_exact(data)] == ["b", "c"]
    with pytest.raises(SplitError, match=r"'a' would send 2 tensors \('y', 'a'\)"):
        split(data, "a")


# The branches read a from outside; the inner If reads b, and w, from further out.
BRANCHES = """
g (float[4] x, bool p) => (float[4] out)
<float[4] w = {1, 2, 3, 4}>
{
    a = Relu(x)
    b = Neg(a)
    c = If (p) <
        then_branch = t () => (float[4] t_out) { t_out = Add(a, w) },
        else_branch = e () => (float[4] e_out) {
            e_out = If (p) <
                then_branch = u () => (float[4] u_out) { u_out = Add(b, w) },
                else_branch = v () => (float[4] v_out) { v_in = Exp(b) v_out = Neg(v_in) }
            >
        }
    >
    d = Add(c, w)
    out = Tanh(d)
}
"""


def test_what_branches_read_from_outside_is_their_input():
    data = packed(BRANCHES)
    assert [cut.name for cut in assert_exact(data)] == ["c", "d"]
    with pytest.raises(SplitError, match=r"'b' would send 3 tensors \('p', 'a', 'b'\)"):
        split(data, "b")
    with pytest.raises(SplitError, match="nothing named 'v_in'"):
        split(data, "v_in")
    head, tail = map(onnx.load_model_from_string, split(data, "c"))
    for half in (head, tail):
        assert [t.name for t in half.graph.initializer] == ["w"]


def test_loop_bodies():
    data = packed("""
    g (float[4] x) => (float[4] out)
    <int64 n = {3}, float[4] w = {1, 2, 3, 4}>
    {
        a = Relu(x)
        yes = Constant <value = bool {1}> ()
        last = Loop (n, yes, a) <
            body = step (int64 i, bool going, float[4] s) => (bool still, float[4] s_out)
            { still = Identity(going) scaled = Mul(s, w) s_out = Add(scaled, a) }
        >
        out = Neg(last)
    }
    """)
    assert [cut.name for cut in assert_exact(data)] == ["a", "last"]
    nodes = onnx.load_model_from_string(split(data, "a").tail).graph.node
    assert [node.op_type for node in nodes] == ["Constant", "Loop", "Neg"]


def quantised() -> bytes:
    return packed("""
    g (float[N, 4] x) => (float[N, 2] out)
    <float sx = {0.05}, int8 zx = {3}, float sy = {0.1}, int8 zy = {-4}, float sw = {0.02},
     int8 zw = {0}, int8[4, 2] w = {1, -2, 3, 40, -5, 60, 7, 80}>
    {
        q = QuantizeLinear(x, sx, zx)
        dq = DequantizeLinear(q, sx, zx)
        dw = DequantizeLinear(w, sw, zw)
        y = MatMul(dq, dw)
        qy = QuantizeLinear(y, sy, zy)
        r = Relu(qy)
        dy = DequantizeLinear(r, sy, zy)
        out = Tanh(dy)
    }
    """)


def test_quantised_tensors_keep_their_scale():
    data = quantised()
    cuts = {cut.name: cut for cut in assert_exact(data)}
    # the weights' dequantisation is constant, and not sent
    assert list(cuts) == ["q", "dq", "y", "qy", "r", "dy"]
    assert (cuts["q"].dtype, cuts["q"].tensor.zero_point) == ("int8", 3)
    assert cuts["q"].tensor.scale == pytest.approx(0.05)
    assert cuts["q"].nbytes == 4
    assert (cuts["r"].dtype, cuts["r"].tensor.zero_point) == ("int8", -4)
    assert (cuts["y"].tensor.scale, cuts["y"].tensor.zero_point) == (None, None)
    with pytest.raises(SplitError, match="'dw' does not depend on the model's input"):
        split(data, "dw")


def test_quantisation_annotations_keep_what_they_name():
    model = parsed(SKIP)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.5), "b scale"))
    entry = model.graph.quantization_annotation.add(tensor_name="b")
    entry.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="b scale")
    head, tail = map(onnx.load_model_from_string, split(model.SerializeToString(), "a"))
    assert not head.graph.quantization_annotation
    assert tail.graph.quantization_annotation[0] == entry
    assert "b scale" in [t.name for t in tail.graph.initializer]
    assert "b scale" not in [t.name for t in head.graph.initializer]


def test_functions_go_with_the_nodes_that_call_them():
    data = packed(
        """
    g (float[4] x) => (float[4] out)
    {
        a = local.outer(x)
        b = Neg(a)
        c = local.last(b)
        out = local.inner(c)
    }
    <domain: "local", opset_import: ["" : 17, "local" : 1]>
    inner (s) => (t) { t = Exp(s) }
    <domain: "local", opset_import: ["" : 17, "local" : 1]>
    outer (s) => (t) { u = local.inner(s) t = Tanh(u) }
    <domain: "local", opset_import: ["" : 17]>
    last (s) => (t) { t = Relu(s) }
    """,
        '"" : 17, "local" : 1',
    )
    cuts = assert_exact(data)
    assert [(cut.name, cut.after) for cut in cuts] == [
        ("a", "local::outer"),
        ("b", "Neg"),
        ("c", "local::last"),
    ]
    head, tail = map(onnx.load_model_from_string, split(data, "b"))
    assert [f.name for f in head.functions] == ["inner", "outer"]
    assert [f.name for f in tail.functions] == ["inner", "last"]


def test_what_describes_the_model_stays():
    model = parsed(SKIP)
    model.producer_name, model.producer_version, model.model_version = "maker", "1.2", 7
    model.domain, model.doc_string = "org.example", "what it does"
    model.metadata_props.add(key="author", value="somebody")
    model.graph.doc_string = "a graph"
    model.opset_import.add(domain="ai.onnx.ml", version=3)
    for half in map(onnx.load_model_from_string, split(model.SerializeToString(), "a")):
        for field in ("producer_name", "producer_version", "model_version", "domain"):
            assert getattr(half, field) == getattr(model, field)
        assert half.ir_version == model.ir_version
        assert half.opset_import == model.opset_import
        assert half.metadata_props == model.metadata_props
        assert (half.doc_string, half.graph.doc_string) == ("what it does", "a graph")
        assert half.graph.name == "skip"


def test_weights_listed_as_inputs():
    """As files of before IR version 4 have them."""
    model = parsed(SKIP, ir_version=3)
    model.opset_import[0].version = 8
    for name in ("w0", "w1"):
        model.graph.input.append(helper.make_tensor_value_info(name, 1, [4]))
    data = model.SerializeToString()
    cuts = list_cuts(data)
    assert [cut.name for cut in cuts] == ["a", "sum"]
    halves = split(data, "a")
    head, tail = map(onnx.load_model_from_string, halves)
    assert [i.name for i in head.graph.input] == ["in", "w0"]
    assert [i.name for i in tail.graph.input] == ["a", "w1"]
    for half in halves:
        onnx.checker.check_model(half, full_check=True)
    assert verify(data, halves).identical


def external(folder: Path) -> Path:
    path = folder / "model.onnx"
    onnx.save_model(
        resnet(),
        path,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=64,
    )
    return path


def test_weights_in_a_separate_file_are_brought_in(tmp_path):
    path = external(tmp_path)
    inside = resnet().SerializeToString()
    assert path.stat().st_size < len(inside) / 2
    assert list_cuts(path) == list_cuts(inside)
    halves = split(path, "layer3")
    assert halves == split(inside, "layer3")
    assert verify(path, halves).identical
    with pytest.raises(ModelError, match="in a separate file: give the model's path"):
        list_cuts(path.read_bytes())


def test_weights_in_a_separate_file_that_is_damaged(tmp_path):
    path = external(tmp_path)
    weights = tmp_path / "weights.bin"
    content = weights.read_bytes()
    weights.write_bytes(content[:-8])
    with pytest.raises(ModelError, match=r"truncated|cannot be read"):
        list_cuts(path)
    weights.unlink()
    with pytest.raises(ModelError, match="weights beside the ONNX model cannot be read"):
        list_cuts(path)


def test_too_large_a_model_is_refused_before_it_is_read(tmp_path):
    path = external(tmp_path)
    model = onnx.load_model(path, load_external_data=False)
    entries = next(t for t in model.graph.initializer if t.external_data).external_data
    next(entry for entry in entries if entry.key == "length").value = str(3 << 30)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"too large: 32.* bytes with its weights"):
        list_cuts(path)


CUSTOM = """
g (float[4] x) => (float[4] out)
{
    a = Relu(x)
    b = custom.Magic(a)
    c = Neg(b)
    out = Exp(c)
}
"""


def test_custom_operators():
    opsets = '"" : 17, "custom" : 1'
    data = packed(CUSTOM, opsets)
    # nothing says what type the custom operator gives
    assert [cut.name for cut in list_cuts(data)] == ["a"]
    with pytest.raises(SplitError, match=r"'b', which custom::Magic computes.* neither"):
        split(data, "b")
    model = parsed(CUSTOM, opsets)
    model.graph.value_info.append(helper.make_tensor_value_info("b", 1, [4]))
    data = model.SerializeToString()
    assert [(c.name, c.shape) for c in list_cuts(data)] == [("a", (4,)), ("b", (4,)), ("c", (4,))]
    halves = split(data, "c")
    assert "custom::Magic" in [cut.after for cut in list_cuts(data)]
    assert [cut.name for cut in list_cuts(halves.head)] == ["a", "b"]
    with pytest.raises(ModelError, match=r"ONNX Runtime rejects the model: .*Magic"):
        verify(data, halves)
    tail = OnnxModel(halves.tail)
    np.testing.assert_array_equal(tail(np.zeros(4, np.float32))[0], np.ones(4))


def test_custom_operators_are_run_once():
    """They may count their calls: what they make of constants is sent."""
    data = packed(
        """
    g (float[4] x) => (float[4] out)
    <float[4] w = {1, 2, 3, 4}>
    {
        m = custom.Magic(w)
        a = Add(x, m)
        b = Neg(a)
        out = Mul(b, m)
    }
    """,
        '"" : 17, "custom" : 1',
    )
    with pytest.raises(SplitError, match=r"'b' would send 2 tensors \('m', 'b'\)"):
        split(data, "b")


def test_shapes_that_only_a_run_tells():
    data = packed("""
    g (float[N, 2, 3] x) => (float[?, ?] out)
    <bool[6] mask = {1, 0, 1, 1, 0, 0}, int64[2] flat = {-1, 1}>
    {
        a = Relu(x)
        c = Compress(a, mask)
        d = Neg(c)
        out = Reshape(d, flat)
    }
    """)
    assert {cut.name: cut.shape for cut in assert_exact(data)} == {
        "a": (1, 2, 3),
        "c": (3,),
        "d": (3,),
    }


def test_stale_types_in_the_file_are_not_believed():
    """Tools that change a model's input leave the types inside as they were."""
    model = resnet(1)
    data = onnx.shape_inference.infer_shapes(model).SerializeToString()
    stale = onnx.load_model_from_string(data)
    stale.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    stale.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 2
    halves = split(stale.SerializeToString(), "layer3")
    assert halves.cut.shape == (2, 16, 4, 4)
    assert OnnxModel(halves.tail).inputs[0].shape == (2, 16, 4, 4)
    assert verify(stale.SerializeToString(), halves).identical


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("in", "'in' is an input of the model.* the nearest after it is 0, 'a'"),
        ("out", "'out' is an output of the model.* the nearest before it is 1, 'sum'"),
        ("b", r"'b' would send 2 tensors \('a', 'b'\).*before it is 0, 'a'.*after it is 1, 'sum'"),
        ("w0", "'w0' does not depend on the model's input"),
        ("summ", "nothing named 'summ': the model has 2 cuts, 0 to 1; similar names: 'sum'"),
        (2, "there is no cut 2: the model has 2 cuts, 0 to 1"),
        (-1, "there is no cut -1"),
        (Cut(0, "x", (Tensor(4, "x", (), "int8"),), "Add", 1), "the cut at 'x' belongs to another"),
    ],
)
def test_impossible_cuts_say_what_is_possible(at, message):
    with pytest.raises(SplitError, match=message):
        split(packed(SKIP), at)


def test_cuts_that_are_not_needed_or_not_numbers():
    data = packed("""
    g (float[4] x) => (float[4] out)
    {
        a = Relu(x)
        unread = Neg(a)
        s = Cast <to = 8> (a)
        out = Cast <to = 1> (s)
    }
    """)
    assert [cut.name for cut in list_cuts(data)] == ["a"]
    with pytest.raises(SplitError, match="no output of the model needs 'unread'"):
        split(data, "unread")
    with pytest.raises(SplitError, match="'s', which Cast computes, is not an array of numbers"):
        split(data, "s")
    assert [n.op_type for n in onnx.load_model_from_string(split(data, "a").tail).graph.node] == [
        "Cast",
        "Cast",
    ]


def test_cut_of_the_wrong_type():
    with pytest.raises(ArgumentError, match="not float"):
        split(packed(SKIP), 1.0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda m: m.graph.node[1].input.__setitem__(0, "nowhere"), "not valid: .*nowhere"),
        (lambda m: m.graph.node[1].output.__setitem__(0, "a"), "not valid: .*'?a'?"),
        (lambda m: setattr(m.graph.node[0], "op_type", "Ad"), "not valid: .*Ad"),
        (lambda m: m.graph.node.reverse(), "not valid: .*sorted"),
        (lambda m: m.ClearField("graph"), "holds no graph"),
    ],
)  # fmt: skip
def test_graphs_that_make_no_sense(damage, message):
    model = parsed(SKIP)
    damage(model)
    with pytest.raises(ModelError, match=message):
        list_cuts(model.SerializeToString())


@pytest.mark.parametrize("name", ["nowhere", "d"])
def test_branches_that_read_what_is_not_there(name, monkeypatch):
    model = parsed(BRANCHES)
    model.graph.node[2].attribute[0].g.node[0].input[1] = name
    monkeypatch.setattr(onnx.checker, "check_model", lambda _: None)
    with pytest.raises(ModelError, match=f"'{name}' is read before anything computes it"):
        list_cuts(model.SerializeToString())


def test_truncated_and_damaged_files_give_model_errors_or_models(tmp_path):
    data = packed(BRANCHES)
    path = tmp_path / "model.onnx"
    path.write_bytes(b"noise" * 100)
    with pytest.raises(ModelError, match="not an ONNX model"):
        list_cuts(path)
    rng = random.Random(4)
    refused = 0
    damaged = [data[:length] for length in range(1, len(data))]
    for _ in range(500):
        damaged.append(bytearray(data))
        for _ in range(rng.choice([1, 2, 8])):
            damaged[-1][rng.randrange(1, len(data))] = rng.choice([0, 1, 127, 128, 255])
    for content in damaged:
        try:
            cuts = list_cuts(content)
            if cuts:
                split(content, cuts[0])
        except ModelError:
            refused += 1
    assert refused > len(data) - 10


def test_the_format_is_told_by_suffix_and_content(tmp_path):
    data = packed(SKIP)
    assert model_format(data) == model_format(memoryview(data)) == "onnx"
    for name, content, wanted in (
        ("a.onnx", b"", "onnx"),
        ("a.tflite", data, "tflite"),
        ("a.bin", data, "onnx"),
        ("b.bin", b"\x1c\0\0\0TFL3", "tflite"),
        ("c.bin", b"\x08\0\0\0TFL3", "tflite"),
    ):
        (tmp_path / name).write_bytes(content)
        assert model_format(tmp_path / name) == wanted
    assert split(tmp_path / "a.bin", "a") == split(data, "a")
    with pytest.raises(ModelError, match=r"cannot read the model 'no such file\.onnx'"):
        list_cuts("no such file.onnx")


def test_running():
    data = packed(SKIP)
    model = open_model(data)
    assert isinstance(model, OnnxModel)
    assert [(i.name, i.shape, i.dtype) for i in model.inputs] == [("in", (1, 4), "float32")]
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    assert model(x)[0].shape == (2, 4)
    for arrays, message in (
        ([], r"takes 1 input\(s\) \('in'\), 0 given"),
        ([x.astype(np.float64)], "must be float32, an array of float64"),
        ([x[:, :2]], "the model failed to run: .*invalid dimensions"),
    ):
        with pytest.raises(ModelError, match=message):
            model(*arrays)
    with pytest.raises(ArgumentError, match="threads must be at least 1"):
        OnnxModel(data, threads=0)
    with pytest.raises(ModelError, match="ONNX Runtime rejects the model"):
        OnnxModel(b"\x08\x07noise")
    with pytest.raises(ModelError, match="cannot read the model"):
        OnnxModel("no such file.onnx")
    strings = packed("g (float[4] x) => (string[4] s) { s = Cast <to = 8> (x) }")
    with pytest.raises(ModelError, match=r"'s' is of the type tensor\(string\)"):
        OnnxModel(strings)


def test_scalars_are_compared():
    from pysplitcodec.splitting.verify import apart

    assert apart(np.float32(1.0), np.float32(1.5)) == 0.5
    given = np.float32([np.nan, np.inf, 1.0, np.nan])
    np.testing.assert_array_equal(
        apart(given, np.float32([np.nan, np.inf, 3.0, 1.0]))[:3], [0, 0, 2]
    )


def test_commands(tmp_path):
    """split, calibrate, verify, serve and run, as for a TFLite model."""
    pytest.importorskip("typer", reason="needs the extra 'cli'")
    pytest.importorskip("uvicorn", reason="needs the extra 'serve'")
    pytest.importorskip("httpx", reason="needs the extra 'serve'")
    start = [sys.executable, "-m", "pysplitcodec"]

    def run(*args: object) -> dict[str, object]:
        done = subprocess.run(
            [*start, *map(str, args), "--json"], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    model, out = tmp_path / "model.onnx", tmp_path / "out"
    model.write_bytes(resnet().SerializeToString())
    x = np.random.default_rng(1).standard_normal((3, 3, 16, 16)).astype(np.float32)
    np.save(tmp_path / "inputs.npy", x)
    rows = run("split", model, "--all", "--verify")["rows"]
    assert [row["name"] for row in rows] == [cut.name for cut in list_cuts(model)]
    assert all(row["identical"] and row["max_abs_difference"] == 0 for row in rows)
    done = run(
        *("split", model, "--at", "layer3", "-o", out, "--verify", "--bits", 8),
        *("--calibrate", tmp_path / "inputs.npy"),
    )
    assert done["identical"] is True
    assert done["cut"]["shape"] == [1, 16, 4, 4]
    found = sorted(path.name for path in out.iterdir())
    assert found == ["bundle.json", "codec.json", "head.onnx", "tail.onnx"]

    server = subprocess.Popen(
        [*start, "serve", str(out / "tail.onnx"), "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url = json.loads(server.stdout.readline())["url"]
        sending = ("--server", url, "--input", tmp_path / "inputs.npy")
        answers = run("run", out / "head.onnx", *sending)["rows"]
    finally:
        server.terminate()
        server.wait(60)
        server.stdout.close()
    # Every value of the three inputs has a centroid nearly of its own.
    for sample, answer in zip(x, answers):
        wanted = OnnxModel(model)(sample[None])[0]
        np.testing.assert_allclose(answer["outputs"]["logits"], wanted, atol=0.05)


def test_verification_of_halves_that_do_not_fit():
    data = packed(SKIP)
    halves = split(data, "a")
    with pytest.raises(SplitError, match="the tail gives 2 outputs, the whole model 1"):
        verify(data, Split(halves.head, split(data, ["a", "b"]).head, halves.cut))


def test_missing_packages_are_explained(monkeypatch):
    data = packed(SKIP)
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "pysplitcodec\[onnx\]"'):
        list_cuts(data)
    with pytest.raises(MissingDependencyError, match=r'pip install "pysplitcodec\[onnx\]"'):
        OnnxModel(data)


def test_splitting_needs_no_runtime(monkeypatch):
    data = resnet().SerializeToString()
    wanted = list_cuts(data)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert list_cuts(data) == wanted
    assert split(data, "layer3").cut.name == "layer3"


def test_importing_the_package_imports_neither_onnx_nor_its_runtime():
    code = (
        "import sys, pysplitcodec.splitting;"
        "found = {'onnx', 'onnxruntime', 'google.protobuf'} & set(sys.modules);"
        "sys.exit(repr(found) if found else 0)"
    )
    path = os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path)
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})
