"""`splitcodec inspect MODEL`: the layer report as a table and as JSON, and inputs from files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pysplitcodec.errors import FeatureError
from pysplitcodec.report import layer_report
from pysplitcodec.runtime import TensorInfo

pytest.importorskip("typer", reason="the command line needs the extra 'cli'")
onnx = pytest.importorskip("onnx", reason='needs "pysplitcodec[onnx]"')
pytest.importorskip("onnxruntime", reason='needs "pysplitcodec[onnx]"')
Image = pytest.importorskip("PIL.Image", reason="images need the extra 'cli'")

from typer.testing import CliRunner  # noqa: E402

from pysplitcodec.cli.app import app  # noqa: E402
from pysplitcodec.cli.arrays import load_inputs  # noqa: E402


def run(*args: object, expect: int = 0) -> Any:
    """Give what `splitcodec inspect` did."""
    done = CliRunner().invoke(app, ["inspect", *map(str, args)], env={"COLUMNS": "250"})
    assert done.exit_code == expect, (done.output, done.exception)
    return done


@pytest.fixture
def model(tmp_path: Path) -> Path:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 3, 8, 6] in) => (float[1, 3, 8, 6] out)
    { hidden = Relu(in) pooled = GlobalAveragePool(hidden) out = Add(hidden, pooled) }"""
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    rng = np.random.default_rng(0)
    for number in range(6):
        place = folder / f"class{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (8, 6, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_json_is_what_python_gives(model, images):
    wanted = TensorInfo("in", (1, 3, 8, 6), "float32", None, None)
    inputs = [[array] for array in load_inputs(images, wanted, (-1, 1))]
    report = layer_report(model, inputs, bits=(1, 3), time=False).to_dict()
    options = ("--bits", 1, "--bits", 3, "--value-range", -1, 1, "--no-time", "--json")
    done = run(model, "--input", images, *options)
    assert json.loads(done.stdout) == json.loads(json.dumps(report))
    assert done.stderr == ""
    assert [point["name"] for point in report["split_points"]] == ["hidden"]
    assert report["split_points"][0]["sparsity"] == pytest.approx(0.5, abs=0.05)


def test_tables_leave_out_what_is_not_known(model, images):
    plain = run(model, "--no-time").stdout
    assert "hidden" in plain and "1x3x8x6" in plain and "no inputs" in plain
    assert not any(word in plain for word in ("zeros", "pack", "head", "entropy"))
    timed = run(model).stdout
    assert "head" in timed and "pack" not in timed
    full = run(model, "--input", images, "--bits", 3, "--context-channels", 0).stdout
    assert all(word in full for word in ("zeros", "pack", "lzma", "entropy", "head", "3 bits"))
    assert "context" not in full and "6 inputs" in full


def test_fewer_inputs_if_so_asked(model, images, tmp_path):
    assert (
        json.loads(run(model, "--input", images, "--samples", 4, "--json").stdout)["samples"] == 4
    )
    np.save(tmp_path / "inputs.npy", np.zeros((5, 3, 8, 6), np.float32))
    done = run(model, "--input", tmp_path / "inputs.npy", "--samples", 4, "--json")
    assert json.loads(done.stdout)["samples"] == 4


def test_unknown_operators_are_named(tmp_path):
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[1, 8, 1] in) => (float[1, 8, 2] out)
    { hidden = Relu(in) out = DFT(hidden) }"""
    path = tmp_path / "transform.onnx"
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    done = run(path, "--no-time")
    assert "unknown MACs" in done.stdout and "not known of: DFT" in done.stderr


def test_pages(model, tmp_path):
    pytest.importorskip("pysplitcodec.report.page")
    done = run(model, "--html", tmp_path / "page.html", "--no-time", "--json")
    assert json.loads(done.stdout)["format"] == "onnx"
    assert "hidden" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_bad_input_is_named(model, images, tmp_path):
    np.save(tmp_path / "wrong.npy", np.zeros((3, 8, 7), np.float32))
    np.save(tmp_path / "ints.npy", np.zeros((1, 3, 8, 6), np.int32))
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x08nonsense")
    (tmp_path / "bad.tflite").write_bytes(b"\0\0\0\0TFL3" + bytes(40))
    (tmp_path / "frame").write_bytes(b"no frame and no model")
    for arguments, says in [
        ((model, "--input", tmp_path / "wrong.npy"), "(1, 3, 8, 6)"),
        ((model, "--input", tmp_path / "ints.npy"), "int32"),
        ((model, "--input", tmp_path / "empty"), "holds no images"),
        ((tmp_path / "bad.onnx",), "ModelError"),
        ((tmp_path / "bad.tflite",), "ModelError"),
        ((tmp_path / "frame",), "NotAFrameError"),
        ((tmp_path / "frame", "--input", images), "--input is for models"),
        ((tmp_path / "frame", "--bits", "3"), "--bits is for models"),
    ]:
        assert says in run(*arguments, expect=3).stderr.replace("\n", " ")
    for option, value in (("--bits", 9), ("--samples", 0), ("--input", tmp_path / "absent")):
        assert option in run(model, option, value, expect=2).stderr


def test_a_model_of_several_inputs(tmp_path, images):
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[2] one, float[2] two)
    => (float[2] out) { sum = Add(one, two) out = Relu(sum) }"""
    path = tmp_path / "two.onnx"
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    error = run(path, "--input", images, expect=3).stderr
    assert "takes 2 inputs (one, two)" in error.replace("\n", " ")
    assert json.loads(run(path, "--json").stdout)["split_points"][0]["head_ms"] > 0


def test_models_that_crash_do_not_take_the_command_along(data_dir):
    path = data_dir / "tflite-micro" / "keyword_scrambled_8bit.tflite"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    pytest.importorskip("ai_edge_litert", reason='needs "pysplitcodec[tflite]"')
    command = [sys.executable, "-m", "pysplitcodec", "inspect", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 3 and "crashes the process" in done.stderr
    done = subprocess.run([*command, "--no-time", "--json"], capture_output=True, timeout=120)
    assert json.loads(done.stdout)["macs"] == 21056


# ------------------------------------------------------------------ inputs from images


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("first", [True, False])
def test_images_channels_first_and_last(first, channels, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (5, 4, 3)).astype(np.uint8)
    image = Image.fromarray(pixels).convert("RGB" if channels == 3 else "L")
    image.save(tmp_path / "image.png")
    expected = np.asarray(image).reshape(5, 4, channels) / 255
    shape = (1, channels, 5, 4) if first else (1, 5, 4, channels)
    if first:
        expected = expected.transpose(2, 0, 1)
    wanted = TensorInfo("in", shape, "float32", None, None)
    (loaded,) = load_inputs(tmp_path / "image.png", wanted, None)
    assert loaded.shape == shape and loaded.dtype == np.float32
    np.testing.assert_allclose(loaded[0], expected, atol=1e-6)


def test_images_are_resized_before_channels_move(tmp_path):
    pixels = np.zeros((20, 10, 3), np.uint8)
    pixels[:, :, 1], pixels[10:, :, 2] = 255, 255
    Image.fromarray(pixels).save(tmp_path / "image.png")
    wanted = TensorInfo("in", (1, 3, 8, 4), "float32", None, None)
    (loaded,) = load_inputs(tmp_path / "image.png", wanted, (-1, 1))
    assert loaded[0, 0].max() == -1 and loaded[0, 1].min() == 1
    assert loaded[0, 2, :3].max() == -1 and loaded[0, 2, 5:].min() == 1


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (1, 10), (1, 4, 8, 8), (2, 3, 8, 8)])
def test_models_that_take_no_images(shape, images):
    wanted = TensorInfo("in", shape, "float32", None, None)
    with pytest.raises(FeatureError, match=r"give a \.npy file"):
        load_inputs(images / "class0" / "0.png", wanted, None)


def test_folders_come_in_an_order_that_mixes_classes_and_stays(images):
    wanted = TensorInfo("in", (1, 8, 6, 3), "uint8", 1.0, 0)
    every = load_inputs(images, wanted, None)
    again = load_inputs(images, wanted, None, 4)
    assert len(every) == 6 and len(again) == 4
    files = sorted(images.rglob("*.png"))
    order = [
        next(
            i for i, file in enumerate(files) if np.array_equal(np.asarray(Image.open(file)), x[0])
        )
        for x in every
    ]
    assert sorted(order) == list(range(6)) and order != list(range(6))
    for array in again:
        assert any(np.array_equal(array, other) for other in every)
