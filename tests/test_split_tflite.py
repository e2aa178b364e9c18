"""Splitting TFLite models: the halves together compute what the whole does, bit for bit."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tflite_models import (
    OPERATOR,
    Graph,
    assert_exact,
    flatbuffers,
    samples,
    schema,
    skip_graph,
    while_graph,
)

from pysplitcodec.errors import ArgumentError, MissingDependencyError, ModelError, SplitError
from pysplitcodec.runtime import TFLiteModel
from pysplitcodec.splitting import Cut, Tensor, list_cuts, read_graph, split


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


def test_old_operator_codes_are_named():
    """Files from before 2020 have the code in the one-byte field only."""
    graph = skip_graph()
    for code in graph.model.operatorCodes:
        code.builtinCode = 0
        code.deprecatedBuiltinCode = OPERATOR.MUL
    assert {cut.after for cut in list_cuts(graph.pack())} == {"MUL"}


def test_quantisation_of_a_cut(data_dir):
    cuts = list_cuts(data_dir / "mlperf-tiny-tflite/resnet8_cifar10_int8.tflite")
    assert cuts[3].dtype == "int8"
    assert cuts[3].tensor.scale == pytest.approx(0.127069, rel=1e-5)
    assert cuts[3].tensor.zero_point == -128
    cuts = list_cuts(data_dir / "mlperf-tiny-tflite/resnet8_cifar10_fp32.tflite")
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


def test_truncated_files(data_dir):
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
    real = (data_dir / "mlperf-tiny-tflite/resnet8_cifar10_int8.tflite").read_bytes()
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
