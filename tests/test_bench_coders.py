"""`splitcodec bench coders`: what it prints, what it compares with, and that it verifies."""

from __future__ import annotations

import bz2
import csv
import ctypes.util
import io
import json
import lzma
import math
import random
import re
import statistics
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pysplitcodec as sc
from pysplitcodec import errors
from pysplitcodec.bench import coders, compressors, run_length
from pysplitcodec.bench import samples as inputs
from pysplitcodec.bench.liblzma import Liblzma
from pysplitcodec.model import NEED_MODEL
from pysplitcodec.native import core

typing_runner = pytest.importorskip("typer.testing", reason="the command line needs extra 'cli'")

ROOT = Path(__file__).parents[1]
RAW = [{"id": lzma.FILTER_LZMA1, "preset": 6, "dict_size": 1 << 16, "lc": 0, "lp": 0, "pb": 0}]
COLUMNS = [
    "file",
    "coder",
    "bits",
    "payload_bytes_mean",
    "bits_per_element",
    "of_packed",
    "of_lzma",
    "of_lzma_time",
    "encode_us",
    "decode_us",
    "model_bytes",
    "round_trip",
]
needs_liblzma = pytest.mark.skipif(
    ctypes.util.find_library("lzma") is None, reason="there is no liblzma to load"
)


def bench(*args: object, expect: int = 0) -> Any:
    """The command in this process, where it can be tampered with."""
    from pysplitcodec.cli.app import app

    words = ["bench", "coders", "--seconds", "0", *map(str, args)]
    done = typing_runner.CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert done.exit_code == expect, done.output
    return done


def report_of(*args: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bench(*args, "--json").stdout)
    return found


def measure(*files: inputs.Samples) -> coders.CoderReport:
    report = coders.CoderReport()
    coders.measure(report, files, seconds=0, progress=str)
    return report


def walk(bits: int, shape: tuple[int, ...]) -> Any:
    steps = np.random.default_rng(3).normal(scale=0.5, size=shape)
    return (np.rint(np.cumsum(steps, axis=-1)).astype(np.int64) & ((1 << bits) - 1)).astype("u1")


def packed_samples(indices: Any, bits: int) -> list[bytes]:
    """Packed as docs/format.md says, by numpy."""
    digits = (indices.reshape(len(indices), -1, 1) >> np.arange(bits)) & 1
    flat = digits.reshape(len(indices), -1).astype(np.uint8)
    return [np.packbits(one, bitorder="little").tobytes() for one in flat]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Five samples of 3-bit indices with their centroids."""
    path = tmp_path / "samples.npz"
    np.savez(path, test=walk(3, (5, 6, 9, 9)), centroids=np.arange(8, dtype=np.float32))
    return path


@pytest.fixture
def files(file: Path, tmp_path: Path) -> list[Path]:
    """That one and one of 1-bit indices."""
    other = tmp_path / "other.npz"
    np.savez(other, test=walk(1, (3, 4, 8, 8)), centroids=np.arange(2, dtype=np.float32))
    return [file, other]


# ------------------------------------------------------------------ what it prints


def test_trained_coders(tmp_path: Path) -> None:
    file, maps = tmp_path / "learned.npz", walk(2, (48, 3, 12, 12))
    np.savez(file, test=maps[40:], calibration=maps[:40], centroids=np.arange(4, dtype=np.float32))
    rows = {row["coder"]: row for row in report_of(file)["rows"]}
    for name in ("rans", "range trained", "context 4 kB", "context 40 kB"):
        assert rows[name]["model_bytes"] > 50 and rows[name]["round_trip"] is True
        assert rows[name]["payload_bytes_mean"] < rows["pack"]["payload_bytes_mean"]
    assert rows["context 4 kB"]["model_bytes"] <= 4096
    assert rows["range trained"]["of_lzma"] < rows["range"]["of_lzma"]
    assert rows["context 4 kB"]["of_lzma"] <= rows["range"]["of_lzma"]  # its rival


def test_json(file: Path) -> None:
    found = report_of(file)
    assert found["files"] == [{"file": str(file), "samples": 5, "shape": [6, 9, 9], "bits": 3}]
    assert found["machine"]["kernels"] == core.kernels_name()
    assert found["summary"] == []
    rows = {row["coder"]: row for row in found["rows"]}
    ours = [name for name, there in sc.coders().items() if there and name not in NEED_MODEL]
    assert list(rows)[: len(ours)] == ours
    packed = packed_samples(np.load(file)["test"], 3)
    expected = {
        "pack": packed,
        "xz -6": [lzma.compress(data, preset=6) for data in packed],
        "zlib -6": [zlib.compress(data) for data in packed],
        "bz2 -9": [bz2.compress(data) for data in packed],
    }
    unit = rows[found["rows"][len(ours)]["coder"]]
    assert unit["of_lzma"] == 1.0
    for name, payloads in expected.items():
        mean = sum(map(len, payloads)) / 5
        assert rows[name]["payload_bytes_mean"] == round(mean, 1)
        assert rows[name]["bits_per_element"] == round(8 * mean / 486, 4)
        assert rows[name]["of_packed"] == round(mean / len(packed[0]), 4)
    for row in rows.values():
        assert list(row) == COLUMNS
        assert row["file"] == str(file) and row["bits"] == 3
        assert row["round_trip"] is True and row["model_bytes"] == 0
        ratio = row["payload_bytes_mean"] / unit["payload_bytes_mean"]
        assert row["of_lzma"] == pytest.approx(ratio, abs=2e-3)
        assert min(row[name] for name in ("encode_us", "decode_us", "of_lzma_time")) > 0
    for skipped in found["skipped"]:
        assert skipped["reason"] == "not installed" or skipped["name"] in (
            "liblzma",
            "trained coders",
        )


def test_several_files(files: list[Path]) -> None:
    found = report_of(*files)
    assert [one["file"] for one in found["files"]] == list(map(str, files))
    assert [one["bits"] for one in found["files"]] == [3, 1]
    assert [one["coder"] for one in found["summary"]] == list(
        dict.fromkeys(row["coder"] for row in found["rows"])
    )
    for one in found["summary"]:
        rows = [row for row in found["rows"] if row["coder"] == one["coder"]]
        assert [row["file"] for row in rows] == list(map(str, files)) and one["files"] == 2
        for name in ("of_lzma", "of_lzma_time"):
            mean = statistics.fmean(row[name] for row in rows)
            assert one[name] == pytest.approx(mean, abs=1e-4)


def test_csv_and_for_people(files: list[Path]) -> None:
    rows = list(csv.DictReader(io.StringIO(bench(*files, "--csv").stdout)))
    assert list(rows[0]) == COLUMNS and rows[0]["coder"] == "pack"
    assert float(rows[0]["bits_per_element"]) == pytest.approx(3, abs=0.02)
    assert {row["file"] for row in rows} == set(map(str, files))
    text = re.sub(r"\s+", " ", bench(*files).stdout)
    assert "samples.npz: 5 samples of 6x9x9, 3 bit(s)" in text
    assert "other.npz: 3 samples of 4x8x8, 1 bit(s)" in text
    summary = text.split("means over the files")[1]
    for row in rows:
        assert text.count(f" {row['coder']} ") >= 3 and row["coder"] in summary
    assert "means" not in bench(files[0]).stdout


def test_every_column_is_explained(files: list[Path]) -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    found = report_of(*files)
    names = {*found, *found["files"][0], *found["rows"][0], *found["summary"][0]}
    assert [name for name in names if f"`{name}`" not in text and f'"{name}"' not in text] == []
    peers = [row["coder"] for row in found["rows"] if row["coder"] not in sc.coders()]
    assert [name for name in peers if f"`{name}`" not in text] == []


def test_interrupted(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    right, calls = coders.median_ns, []
    in_first = 2 * len(report_of(files[0])["rows"])

    def interrupted(*args: Any) -> Any:
        calls.append(args)
        if len(calls) > in_first + 3:
            raise KeyboardInterrupt
        return right(*args)

    monkeypatch.setattr(coders, "median_ns", interrupted)
    done = bench(*files, "--json", expect=130)
    found = json.loads(done.stdout)
    assert len(found["rows"]) == in_first / 2 + 1
    assert [one["files"] for one in found["summary"][:2]] == [2, 1]
    assert "interrupted" in done.stderr


def test_interrupted_before_the_first_row(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(coders, "median_ns", interrupted)
    assert "samples.npz: 5 samples" in bench(file, expect=130).stdout


# ------------------------------------------------------------------ what it codes


def test_features_get_a_codebook(tmp_path: Path) -> None:
    features = np.maximum(np.random.default_rng(0).normal(size=(4, 100)), 0).astype(np.float32)
    path = tmp_path / "features.npy"
    np.save(path, features)
    (said,) = report_of(path, "--bits", "3")["files"]
    assert said == {"file": str(path), "samples": 4, "shape": [100], "bits": 3}
    assert inputs.samples_of("x", {"test": features}, None).calibration is None
    fitted = inputs.samples_of("x", {"test": features, "calibration": features * 9}, 2)
    book = sc.Codebook.fit(features * 9, 2)
    np.testing.assert_array_equal(fitted.indices, book.quantize(features))
    np.testing.assert_array_equal(fitted.calibration, book.quantize(features * 9))


def test_calibration_indices_are_kept() -> None:
    test, calibration = walk(2, (3, 4, 5)), walk(2, (7, 4, 5))
    arrays = {"test": test, "calibration": calibration, "centroids": np.arange(4.0, dtype="f4")}
    found = inputs.samples_of("x", arrays, None)
    np.testing.assert_array_equal(found.indices, test)
    np.testing.assert_array_equal(found.calibration, calibration)
    assert found.packed == packed_samples(test, 2)


def test_without_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = inputs.generate()
    assert whole.tobytes() == inputs.generate().tobytes()
    assert 0.45 < np.mean(whole == 0) < 0.55
    monkeypatch.setattr(inputs, "generate", lambda: whole[:2])
    found = report_of("--bits", "1")
    assert found["files"] == [{"file": "generated", "samples": 2, "shape": [12, 32, 32], "bits": 1}]
    assert {row["file"] for row in found["rows"]} == {"generated"}


@pytest.mark.parametrize(
    ("arrays", "bits", "says"),
    [
        ({"test": np.zeros(9, np.float32)}, None, "first axis"),
        ({"test": np.zeros((0, 9), np.float32)}, None, "first axis"),
        ({"test": np.zeros((2, 9), np.uint8), "centroids": np.arange(4)}, 3, "bits is 3: expect"),
        ({"test": np.full((2, 9), 4, np.uint8), "centroids": np.arange(4)}, None, "up to 4"),
        ({"test": np.zeros((2, 9), np.int8), "centroids": np.arange(4)}, None, "int8"),
        ({"test": np.zeros((2, 9), np.uint8), "centroids": np.arange(3)}, None, "centroids have"),
        (
            {"test": np.zeros((2, 9), np.uint8), "calibration": np.zeros((5, 8), np.uint8)},
            None,
            r"calibration samples of shape \(8,\)",
        ),
        (
            {
                "test": np.zeros((2, 9), np.uint8),
                "calibration": np.full((5, 9), 7, np.uint8),
                "centroids": np.arange(4),
            },
            None,
            "up to 7",
        ),
    ],
)
def test_wrong_samples(arrays: dict[str, Any], bits: int | None, says: str) -> None:
    with pytest.raises(errors.ArgumentError, match=says):
        inputs.samples_of("some.npz", arrays, bits)


def test_wrong_files(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "two.npz", a=np.zeros(9), b=np.zeros(9))
    np.savez(tmp_path / "none.npz", centroids=np.float32([0, 1]))
    (tmp_path / "text.npy").write_text("hello")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and no more")
    monkeypatch.delattr(coders, "measure")  # they are all looked at before
    for name in ("two.npz", "none.npz", "text.npy", "broken.npz"):
        assert name in bench(file, tmp_path / name, expect=3).stderr
    assert "absent.npz" in bench(file, tmp_path / "absent.npz", expect=2).stderr


# ------------------------------------------------------------------ our coders


def test_sizes_are_those_of_frames(file: Path) -> None:
    if not sc.coders()["lzma"]:
        pytest.skip("this build has no lzma coder")
    rows = {row["coder"]: row for row in report_of(file)["rows"]}
    indices = np.load(file)["test"]
    codec = sc.Codec(sc.Codebook(range(8)), "lzma", shape=indices.shape[1:], dtype="uint8")
    sizes = [len(codec.encode(sample)) - 10 for sample in indices]
    assert rows["lzma"]["payload_bytes_mean"] == round(float(np.mean(sizes)), 1)


def test_a_new_coder_needs_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(coders.CODERS, "another", coders.CODERS["pack"])
    rows = {row["coder"]: row for row in measure(inputs.Samples("x", walk(3, (2, 50)), 3)).rows}
    assert rows["another"]["payload_bytes_mean"] == rows["pack"]["payload_bytes_mean"]


def test_a_model_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(samples: inputs.Samples, _: compressors.Skip) -> dict[str, compressors.Coder]:
        return {"trained": compressors.Coder(bytes, bytes, samples.packed, model_bytes=77)}

    monkeypatch.setattr(coders, "peers", trained)
    row = measure(inputs.Samples("x", walk(3, (2, 50)), 3)).rows[-1]
    assert (row["coder"], row["model_bytes"]) == ("trained", 77)


# ------------------------------------------------------------------ the others


def test_a_coder_that_loses_something_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    right = lzma.decompress
    monkeypatch.setattr(lzma, "decompress", lambda *a, **k: right(*a, **k)[:-1] + b"!")
    with pytest.raises(RuntimeError, match="xz -6 does not give back"):
        measure(inputs.Samples("x", walk(3, (2, 50)), 3))


def test_what_is_not_installed_is_said(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    done = bench(*files, "--json")
    found = json.loads(done.stdout)
    assert found["skipped"].count({"name": "zstandard", "reason": "not installed"}) == 1
    assert not any(row["coder"] == "zstd -3" for row in found["rows"])
    assert "left out zstandard: not installed" in done.stderr


def test_without_liblzma_the_unit_is_pythons(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes.util, "find_library", lambda _: None)
    found = report_of(file)
    rows = {row["coder"]: row for row in found["rows"]}
    unit = rows["Python lzma lc=lp=pb=0"]
    packed = packed_samples(np.load(file)["test"], 3)
    sizes = [len(lzma.compress(data, lzma.FORMAT_RAW, filters=RAW)) for data in packed]
    assert unit["of_lzma"] == 1.0
    assert unit["payload_bytes_mean"] == round(float(np.mean(sizes)), 1)
    (reason,) = [one["reason"] for one in found["skipped"] if one["name"] == "liblzma"]
    assert reason == "no liblzma was found; the unit is Python's lzma"
    assert not any(name.startswith("liblzma") for name in rows)
    assert "`Python lzma lc=lp=pb=0`" in (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    monkeypatch.setitem(sys.modules, "lzma", None)
    assert "needs liblzma or Python's lzma" in bench(file, expect=4).stderr


@needs_liblzma
def test_liblzma_writes_and_reads_what_pythons_does() -> None:
    liblzma = Liblzma(100_000)
    random.seed(1)
    for data in (b"", b"\0", bytes(100_000), random.randbytes(100_000), b"some text " * 999) * 2:
        coded = liblzma.encode(data)
        assert liblzma.decode(coded) == data
        assert lzma.decompress(coded, lzma.FORMAT_RAW, filters=RAW) == data
        assert liblzma.decode(lzma.compress(data, lzma.FORMAT_RAW, filters=RAW)) == data


@needs_liblzma
def test_liblzma_says_what_went_wrong() -> None:
    liblzma = Liblzma(10)
    for damaged in (b"", b"\xff" * 20, liblzma.encode(b"some text")[:-1]):
        with pytest.raises(RuntimeError, match=f"lzma_ret .* for {len(damaged)} bytes"):
            liblzma.decode(damaged)
    random.seed(1)
    with pytest.raises(RuntimeError, match="for 1000 bytes"):
        liblzma.encode(random.randbytes(1000))
    assert liblzma.decode(liblzma.encode(b"some text")) == b"some text"


@pytest.mark.parametrize("name", ["constriction ANS", "constriction range"])
def test_constriction_pays_for_its_tables(name: str) -> None:
    pytest.importorskip("constriction")
    rng = np.random.default_rng(0)
    alike = rng.integers(0, 4, size=(3, 5, 40)).astype(np.uint8)
    differing = np.repeat(np.arange(4, dtype=np.uint8), 4000).reshape(1, 4, 4000)
    for indices, tables in ((alike, 1), (differing, 4)):
        coder = compressors.peers(inputs.Samples("x", indices, 2), lambda *_: None)[name]
        for sample in indices:
            payload = coder.encode(sample)
            rows = sample.reshape(tables, -1)
            counts = np.array([np.bincount(row, minlength=4) for row in rows])
            table = np.frombuffer(payload, np.uint16, 4 * tables).reshape(tables, 4)
            np.testing.assert_array_equal(table, -(-counts * 4095 // rows.shape[1]))
            np.testing.assert_array_equal(coder.decode(payload), sample.reshape(-1))
            least = 8 * tables + sum(map(entropy, counts / rows.shape[1])) * rows.shape[1] / 8
            assert least - 1 <= len(payload) <= 1.01 * least + 16


def entropy(shares: Any) -> float:
    return -sum(share * math.log2(share) for share in shares if share)


# ------------------------------------------------------------------ runs of zeros, and Huffman


@settings(max_examples=50)
@given(st.data())
def test_run_length_gives_back_what_it_was_given(data: st.DataObject) -> None:
    bits = data.draw(st.integers(1, 8))
    run = st.tuples(st.integers(0, 50), st.lists(st.integers(0, (1 << bits) - 1), max_size=9))
    runs = data.draw(st.lists(run, max_size=9))
    found = [value for zeros, values in runs for value in [0] * zeros + values] or [0]
    indices = np.array(found, np.uint8)
    payload = run_length.encode(indices, bits)
    np.testing.assert_array_equal(run_length.decode(payload, bits, indices.size), indices)


def test_run_length_payload_by_hand() -> None:
    # tokens of 1 bit: a 1 at once (1), behind two zeros (3), behind sixteen zeros (0, 1)
    indices = np.array([1, 1, 0, 0, 1, *[0] * 16, 1, 0], np.uint8)
    # 1 occurs three times, 0 twice (the last zero, too), 3 once: codes 0, 10 and 11
    lengths, codes = "21020000000000000" + "0", "0" + "0" + "11" + "10" + "0" + "10"
    expected = bytes.fromhex(lengths) + int(codes.ljust(16, "0"), 2).to_bytes(2, "big")
    assert run_length.encode(indices, 1) == expected


def test_run_length_codes_are_as_long_as_four_bits_can_say() -> None:
    counts = [1, 1]
    while len(counts) < 20:  # each as often as the two before together: Huffman's worst case
        counts.append(counts[-1] + counts[-2])
    indices = np.repeat(np.arange(1, 21, dtype=np.uint8), counts)
    payload = run_length.encode(indices, 5)
    np.testing.assert_array_equal(run_length.decode(payload, 5, indices.size), indices)
