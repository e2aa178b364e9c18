"""The command line, run as a user runs it: in a process of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from command import run

import pysplitcodec as sc

pytest.importorskip("typer", reason="the command line needs the extra 'cli'")


@pytest.fixture
def feature(tmp_path: Path) -> Path:
    values = np.maximum(np.random.default_rng(0).normal(size=(3, 4, 8, 8)), 0)
    path = tmp_path / "feature.npy"
    np.save(path, values.astype(np.float32))
    return path


def test_encode_inspect_decode(feature: Path, tmp_path: Path) -> None:
    frames, restored = tmp_path / "f.spc", tmp_path / "r.npy"
    report = json.loads(run("encode", feature, "-o", frames, "--bits", 3, "--json").stdout)
    assert report["frames"] == 1 and report["bits"] == 3
    assert report["bytes_out"] == frames.stat().st_size
    held = json.loads(run("inspect", frames, "--json").stdout)["rows"][0]
    assert held["shape"] == [3, 4, 8, 8] and held["bits"] == 3 and held["self_describing"]
    run("decode", frames, "-o", restored)
    values = np.load(feature)
    book = sc.Codebook.fit(values, 3)
    np.testing.assert_array_equal(np.load(restored), book.dequantize(book.quantize(values)))


def test_batch_with_codebook(feature: Path, tmp_path: Path) -> None:
    book = sc.Codebook([0.0, 1.0])
    book.save(tmp_path / "book.json")
    frames, restored = tmp_path / "f.spc", tmp_path / "r.npy"
    args = ("encode", feature, "-o", frames, "--batch", "--coder", "pack")
    report = json.loads(run(*args, "--codebook", tmp_path / "book.json", "--json").stdout)
    assert report["frames"] == 3 and report["bits"] == 1
    held = json.loads(run("decode", frames, "-o", restored, "--json").stdout)
    assert held == {"frames": 3, "shape": [3, 4, 8, 8], "dtype": "float32"}
    assert set(np.unique(np.load(restored))) == {0.0, 1.0}


@pytest.mark.parametrize("axis", [0, -3])
def test_codebooks_of_channels(axis: int, feature: Path, tmp_path: Path) -> None:
    values = np.load(feature) * np.float32([1, 10, 100, 0])[:, None, None]
    np.save(feature, values)
    frames, restored = tmp_path / "f.spc", tmp_path / "r.npy"
    args = ("encode", feature, "-o", frames, "--batch", "--threads", 2, "--channel-axis", axis)
    assert json.loads(run(*args, "--json").stdout)["frames"] == 3
    held = json.loads(run("inspect", frames, "--json").stdout)["rows"]
    assert [(row["codebooks"], row["channel_axis"]) for row in held] == [(4, 0)] * 3
    run("decode", frames, "-o", restored)
    books = sc.Codebook.fit_channels(values, 2, 1)
    codec = sc.Codec(books, shape=values.shape[1:], channel_axis=0)
    expected = np.stack([codec.dequantize(codec.quantize(value)) for value in values])
    np.testing.assert_array_equal(np.load(restored), expected)
    wrong = run(*args, "--codebook", frames, expect=3)
    assert "--channel-axis" in wrong.stderr


def test_bfloat16_frames_become_float32_files(tmp_path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 arrays need ml_dtypes")
    values = np.float32([0.1, 1.0, -2.5]).astype(ml_dtypes.bfloat16)
    (tmp_path / "f.spc").write_bytes(sc.encode(values, sc.Codebook([-2.7, 0, 0.3, 1.1])))
    run("decode", tmp_path / "f.spc", "-o", tmp_path / "r.npy")
    restored = np.load(tmp_path / "r.npy")
    assert restored.dtype == np.float32
    assert restored.tolist() == np.float32([0, 1.1015625, -2.703125]).tolist()


def test_stdout_holds_json_alone(feature: Path, tmp_path: Path) -> None:
    done = run("encode", feature, "-o", tmp_path / "f.spc", "--json")
    json.loads(done.stdout)
    plain = run("encode", feature, "-o", tmp_path / "f.spc")
    assert plain.stdout == "" and "f.spc" in plain.stderr


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "TruncatedFrameError"),
        (b"hello, frame", "NotAFrameError"),
        (b"SPC\x02" + bytes(40), "FrameVersionError"),
        (b"SPC\x01\xff\xff\xff\xff" + bytes(40), "FrameLimitError"),
    ],
)
def test_bad_frame_file(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "bad.spc").write_bytes(content)
    for command in (["inspect", tmp_path / "bad.spc"],):
        assert says in run(*command, expect=3).stderr


def test_decode_names_the_broken_frame(feature: Path, tmp_path: Path) -> None:
    frames = tmp_path / "f.spc"
    run("encode", feature, "-o", frames, "--batch", "--coder", "pack")
    broken = bytearray(frames.read_bytes())
    broken[-20] ^= 1
    frames.write_bytes(broken)
    error = run("decode", frames, "-o", tmp_path / "r.npy", expect=3).stderr
    assert "ChecksumError" in error and "frame 2" in error


def test_bad_features(tmp_path: Path) -> None:
    np.save(tmp_path / "ints.npy", np.zeros((4, 4), np.int64))
    np.save(tmp_path / "flat.npy", np.zeros((4, 4), np.float32))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("hello")
    for name, says in [
        ("ints.npy", "int64"),
        ("flat.npy", "distinct values"),
        ("objects.npy", "objects.npy"),
        ("text.npy", "text.npy"),
    ]:
        error = run("encode", tmp_path / name, "-o", tmp_path / "f.spc", expect=3).stderr
        assert says in error


def test_usage_errors(feature: Path, tmp_path: Path) -> None:
    run("encode", tmp_path / "absent.npy", "-o", tmp_path / "f", expect=2)
    run("encode", feature, "-o", tmp_path / "f", "--bits", "9", expect=2)
    run("nonsense", expect=2)
    error = run("encode", feature, "-o", tmp_path / "f", "--coder", "zip", expect=3).stderr
    assert "zip" in error and "pack" in error


def test_help_documents_exit_codes_and_commands() -> None:
    text = run("--help").stdout
    assert "Exit codes" in text
    for command in ("demo", "encode", "decode", "inspect", "export", "split", "serve", "run"):
        assert command in text
        assert "--json" in run(command, "--help").stdout
    assert run("--version").stdout.strip() == f"splitcodec {sc.__version__}"


def test_without_typer_the_message_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise ImportError('gone', name='typer')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    error = run("--help", expect=4, env={"PYTHONPATH": path}).stderr
    assert "pip install 'pysplitcodec[cli]'" in error


def test_run_without_a_server(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs the extra 'tflite'")
    pytest.importorskip("httpx", reason="needs the extra 'serve'")
    from pysplitcodec.demo import load_digits

    digits = load_digits()
    (tmp_path / "model.tflite").write_bytes(digits.model)
    np.save(tmp_path / "inputs.npy", digits.calibration[:, 0])
    out = tmp_path / "out"
    cuts = json.loads(run("split", tmp_path / "model.tflite", "--json").stdout)["rows"]
    assert digits.at in [cut["name"] for cut in cuts]
    inputs = ("--calibrate", tmp_path / "inputs.npy")
    run("split", tmp_path / "model.tflite", "--at", digits.at, "-o", out, *inputs)
    assert sorted(path.name for path in out.iterdir()) == [
        "bundle.json",
        "codec.json",
        "head.tflite",
        "tail.tflite",
    ]
    error = run("split", tmp_path / "model.tflite", "--at", "nowhere", expect=3).stderr
    assert "nowhere" in error
    inspected = run("inspect", out / "head.tflite", "--json").stdout
    assert json.loads(inspected)["format"] == "tflite"
    sending = ("--server", "http://127.0.0.1:9", "--input", tmp_path / "inputs.npy")
    assert "127.0.0.1:9" in run("run", out / "head.tflite", *sending, expect=5).stderr
