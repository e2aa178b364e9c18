"""`splitcodec split` on models of every format, and what it wrote, run by `serve` and `run`."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import run

from pysplitcodec.runtime import open_model

pytest.importorskip("typer", reason="the command line needs the extra 'cli'")


def tflite_model() -> bytes:
    pytest.importorskip("ai_edge_litert", reason="needs the extra 'tflite'")
    from pysplitcodec.demo import load_digits

    return load_digits().model


def onnx_model() -> bytes:
    """A network of convolutions whose block has a shortcut."""
    onnx = pytest.importorskip("onnx", reason="needs the extra 'onnx'")
    pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")
    rng = np.random.default_rng(0)
    shapes = {"w0": (8, 3, 3, 3), "w1": (8, 8, 3, 3)}
    weights = [
        onnx.numpy_helper.from_array(rng.standard_normal(shape).astype("float32"), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        onnx.helper.make_node("Conv", ["image", "w0"], ["stem"], pads=[1] * 4),
        onnx.helper.make_node("Relu", ["stem"], ["relu"]),
        onnx.helper.make_node("Conv", ["relu", "w1"], ["inner"], pads=[1] * 4),
        onnx.helper.make_node("Add", ["relu", "inner"], ["sum"]),
        onnx.helper.make_node("GlobalAveragePool", ["sum"], ["out"]),
    ]
    ends = [
        onnx.helper.make_tensor_value_info(name, 1, shape)
        for name, shape in (("image", ["n", 3, 16, 16]), ("out", ["n", 8, 1, 1]))
    ]
    graph = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    return bytes(model.SerializeToString())


def torch_model() -> bytes:
    torch = pytest.importorskip("torch", reason="needs torch")
    torch.manual_seed(0)
    body = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.BatchNorm2d(8), torch.nn.ReLU()
    )
    rest = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    model = torch.nn.ModuleDict({"body": body, "rest": rest, "out": torch.nn.Linear(8, 4)})
    whole = torch.nn.Sequential(*model.values()).eval()
    free = ({0: torch.export.Dim.AUTO},)
    program = torch.export.export(whole, (torch.randn(2, 3, 16, 16),), dynamic_shapes=free)
    file = io.BytesIO()
    torch.export.save(program, file)
    return file.getvalue()


MODELS = {"tflite": tflite_model, "onnx": onnx_model, "pt2": torch_model}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"model.{request.param}"
    path.write_bytes(MODELS[request.param]())
    return path


def test_every_cut_is_compared(model: Path) -> None:
    rows = json.loads(run("split", model, "--json").stdout)["rows"]
    assert [row["at"] for row in rows] == list(range(len(rows)))
    assert rows[0]["tensors"][0]["name"] == rows[0]["name"]
    found = json.loads(run("split", model, "--all", "--verify", "--json").stdout)["rows"]
    assert [row["at"] for row in found] == [row["at"] for row in rows]
    assert all(row["identical"] and row["max_abs_difference"] == 0 for row in found)
    table = run("split", model).stdout
    assert all(row["name"] in table for row in rows)


def test_halves_are_written_and_compared_on_given_inputs(model: Path, tmp_path: Path) -> None:
    whole = open_model(model)
    given = np.random.default_rng(1).standard_normal((4, *whole.inputs[0].shape[1:]))
    np.save(tmp_path / "inputs.npy", given.astype("float32"))
    out = tmp_path / "out"
    options = ("-o", out, "--verify", "--input", tmp_path / "inputs.npy", "--json")
    report = json.loads(run("split", model, "--at", 1, *options).stdout)
    assert (report["identical"], report["max_abs_difference"]) == (True, 0.0)
    assert report["cut"]["at"] == 1
    assert Path(report["head"]).suffix == Path(report["tail"]).suffix == model.suffix
    head, tail = open_model(report["head"]), open_model(report["tail"])
    sample = given[:1].astype("float32")
    for got, wanted in zip(tail(*head(sample)), whole(sample)):
        np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_several_tensors_are_sent(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_model())
    rows = json.loads(run("split", path, "--tensors", 2, "--json").stdout)["rows"]
    inner = next(row for row in rows if row["name"] == "inner")
    assert [tensor["name"] for tensor in inner["tensors"]] == ["relu", "inner"]
    assert "1x8x16x16 + 1x8x16x16" in run("split", path, "--tensors", 2).stdout
    at = ("--at", "relu", "--at", "inner", "-o", tmp_path / "out", "--verify", "--json")
    report = json.loads(run("split", path, *at).stdout)
    assert report["identical"]
    assert report["cut"]["bytes"] == inner["bytes"] == 2 * 8 * 16 * 16 * 4


def test_wrong_options(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_model())
    assert "--all is for --verify" in run("split", path, "--all", expect=3).stderr
    assert "--verify needs --at or --all" in run("split", path, "--verify", expect=3).stderr
    assert "similar names: 'relu'" in run("split", path, "--at", "rely", expect=3).stderr
    np.save(tmp_path / "wrong.npy", np.zeros((1, 3, 8, 8), "float32"))
    wrong = ("--all", "--verify", "--input", tmp_path / "wrong.npy")
    assert "(1, 3, 8, 8)" in run("split", path, *wrong, expect=3).stderr


def test_a_torch_file_that_is_none(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs torch")
    path = tmp_path / "model.pt2"
    for data in (b"nothing", torch_model()[:5000]):
        path.write_bytes(data)
        error = run("split", path, expect=3).stderr
        assert error.startswith("error: ModelError: not a model that torch.export saved")


def test_a_model_that_ends_the_process(data_dir: Path) -> None:
    """It can be cut, and what cannot run is said."""
    pytest.importorskip("ai_edge_litert", reason="needs the extra 'tflite'")
    path = data_dir / "tflite-micro" / "keyword_scrambled_8bit.tflite"
    assert len(json.loads(run("split", path, "--json").stdout)["rows"]) == 14
    error = run("split", path, "--all", "--verify", expect=3).stderr
    assert "the model crashes the process that runs it: SIG" in error


def test_a_served_torch_tail(tmp_path: Path) -> None:
    """Head and tail of a PyTorch model in two processes, as on two machines."""
    pytest.importorskip("httpx", reason="needs the extra 'serve'")
    path, out = tmp_path / "model.pt2", tmp_path / "out"
    path.write_bytes(torch_model())
    inputs = np.random.default_rng(2).standard_normal((6, 3, 16, 16)).astype("float32")
    np.save(tmp_path / "inputs.npy", inputs)
    calibrate = ("--calibrate", tmp_path / "inputs.npy", "--bits", 8)
    run("split", path, "--at", "0", "-o", out, *calibrate)
    command = [sys.executable, "-m", "pysplitcodec", "serve", out / "tail.pt2"]
    options = ["--port", "0", "--json"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = json.loads(server.stdout.readline())["url"]
            sent = ("--server", url, "--input", tmp_path / "inputs.npy", "--json")
            rows = json.loads(run("run", out / "head.pt2", *sent).stdout)["rows"]
        finally:
            server.terminate()
    answers = np.array([next(iter(row["outputs"].values())) for row in rows]).reshape(6, -1)
    (wanted,) = open_model(path)(inputs)
    np.testing.assert_allclose(answers, wanted, atol=0.05)


def test_a_torch_head_becomes_a_tflite_head(tmp_path: Path) -> None:
    """Head on the device in int8, tail on the server in PyTorch."""
    pytest.importorskip("ai_edge_quantizer", reason="needs the extra 'export'")
    path, out = tmp_path / "model.pt2", tmp_path / "out"
    path.write_bytes(torch_model())
    run("split", path, "--at", 2, "-o", out)
    samples = np.random.default_rng(3).standard_normal((8, 3, 16, 16)).astype("float32")
    np.save(tmp_path / "samples.npy", samples)
    target = ("--target", "tflite", "-o", out / "small.tflite", "--calibrate")
    report = json.loads(
        run("export", out / "head.pt2", *target, tmp_path / "samples.npy", "--json").stdout
    )
    assert report["file"] == str(out / "small.tflite")
    assert report["snr_db"] > 20
    head, tail, whole = (open_model(f) for f in (report["file"], out / "tail.pt2", path))
    (end,) = head.outputs
    assert (head.inputs[0].dtype, end.dtype, end.shape[0]) == ("int8", "int8", 1)
    assert end.scale is not None
    assert end.zero_point is not None
    given = head.inputs[0]
    assert given.scale is not None
    assert given.zero_point is not None
    quantised = np.clip(np.rint(samples[:1] / given.scale) + given.zero_point, -128, 127)
    (feature,) = head(quantised.astype("int8"))
    real = (feature.astype("float32") - end.zero_point) * np.float32(end.scale)
    np.testing.assert_allclose(tail(real)[0], whole(samples[:1])[0], atol=0.05)
    run("export", out / "tail.pt2", "--target", "onnx", "-o", out)
    np.testing.assert_allclose(
        open_model(out / "tail.onnx")(real)[0], tail(real)[0], rtol=1e-4, atol=1e-5
    )
    wrong = run("export", out / "small.tflite", "--target", "onnx", "-o", out, expect=3).stderr
    assert "is for .pt2 models" in wrong
