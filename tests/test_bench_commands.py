"""`splitcodec info` and `splitcodec bench`: what they print, and that they verify first."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import run

import pysplitcodec as sc
from pysplitcodec import errors
from pysplitcodec.bench import kernels, machine, operations, peers, timing
from pysplitcodec.native import DTYPES, binding, core, cpu_feature_names, numpy_dtype

typing_runner = pytest.importorskip("typer.testing", reason="the command line needs extra 'cli'")

ROOT = Path(__file__).parents[1]
QUICK = ("--seconds", "0")


def invoke(*args: object) -> Any:
    """The command in this process, where it can be tampered with."""
    from pysplitcodec.cli.app import app

    return typing_runner.CliRunner().invoke(app, [str(arg) for arg in args])


# ------------------------------------------------------------------ info


def test_info() -> None:
    found = json.loads(run("info", "--json").stdout)
    assert found["version"] == sc.__version__ and found["core"] == core.version()
    assert found["binding"] == binding()
    assert found["wire_format"] == 1
    assert found["coders"] == sc.coders()
    assert (found["lzma_decoder"] is None) == (not sc.coders()["lzma"])
    in_use = cpu_feature_names()
    assert found["masked"] == [name for name in found["cpu_features"] if name not in in_use]
    assert found["kernels"] == core.kernels_name()
    assert found["numpy"] == np.__version__
    assert found["optional"]["cli"]["typer"] is not None
    assert {"safetensors"} == set(found["optional"]["safetensors"])
    assert "test" not in found["optional"] and "dev" not in found["optional"]


def test_info_tells_what_is_masked() -> None:
    found = json.loads(run("info", "--json", env={"SPLITCODEC_CPU": "none"}).stdout)
    assert found["masked"] == found["cpu_features"] == machine.info()["cpu_features"]
    assert found["kernels"] == "reference"


def test_info_of_the_other_binding() -> None:
    pytest.importorskip("cffi")
    found = json.loads(run("info", "--json", env={"SPLITCODEC_BINDING": "cffi"}).stdout)
    here = json.loads(run("info", "--json").stdout)
    assert found["binding"] == "cffi"
    assert {**found, "binding": here["binding"]} == here


def test_info_for_people() -> None:
    text = run("info").stdout
    assert re.search(rf"kernels +{re.escape(core.kernels_name())}", text)
    assert f"typer {machine.info()['optional']['cli']['typer']}" in text


def test_info_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pysplitcodec.bench import machine; machine.info();"
        "print({'torch', 'sklearn', 'faiss', 'ml_dtypes', 'matplotlib', 'starlette',"
        " 'ai_edge_litert'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_kernel_sets_can_be_used_and_are_left() -> None:
    before, sets = core.kernels_name(), machine.kernel_sets()
    assert before in sets and "reference" in sets
    for name in sets:
        with machine.use_kernels(name):
            assert core.kernels_name() == name
    with pytest.raises(ZeroDivisionError), machine.use_kernels("reference"):
        raise ZeroDivisionError
    assert core.kernels_name() == before


# ------------------------------------------------------------------ the two calls of the bindings


def bindings() -> list[Any]:
    from pysplitcodec import _core

    try:
        from pysplitcodec import _abi
    except ImportError:
        return [_core]
    return [_core, _abi]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", range(1, 9))
def test_quantize_pack_and_back(dtype: str, bits: int) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    for count in (0, 1, 7, 64, 1001):
        job = operations.generate((count,), dtype, bits)
        packed, expected = job.packed(), np.empty_like(job.values)
        job.codebook._native.dequantize(DTYPES[dtype], job.indices(), expected)
        for native in bindings():
            book = native.Codebook(job.codebook.centroids)
            made, restored = np.full_like(packed, 0xFF), np.empty_like(job.values)
            book.quantize_pack(DTYPES[dtype], job.values, made)
            assert made.tobytes() == packed.tobytes()
            book.unpack_dequantize(DTYPES[dtype], packed, restored)
            assert restored.tobytes() == expected.tobytes()


def test_quantize_pack_refuses_the_same_in_both_bindings() -> None:
    values, packed = np.zeros(9, np.float32), np.zeros(3, np.uint8)
    stray = packed.copy()
    stray[-1] = 0xFF
    fixed = packed.copy()
    fixed.setflags(write=False)
    for native in bindings():
        book = native.Codebook(np.float32([0, 1, 2, 3]))
        for wrong in (packed[:2], packed.view(np.int8), np.zeros(6, np.uint8)[::2], fixed):
            with pytest.raises(ValueError):
                book.quantize_pack(0, values, wrong)
        with pytest.raises(ValueError, match="values"):
            book.unpack_dequantize(0, packed, values.astype(np.float64))
        with pytest.raises(ValueError, match="packed"):
            book.unpack_dequantize(0, packed[:2], values)
        with pytest.raises(errors.CorruptFrameError):
            book.unpack_dequantize(0, stray, values)


# ------------------------------------------------------------------ what is measured on


@pytest.mark.parametrize("dtype", DTYPES)
def test_generated_features(dtype: str) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    first = operations.generate((40, 500), dtype, 1).values
    assert first.shape == (40, 500) and first.dtype == numpy_dtype(dtype)
    least = np.iinfo(dtype).min if dtype in ("int8", "uint8") else 0
    assert 0.45 < np.mean(first == least) < 0.55
    for bits in range(1, 9):
        job = operations.generate((40, 500), dtype, bits)
        assert job.values.tobytes() == first.tobytes()
        assert np.unique(job.indices()).tolist() == list(range(1 << bits))
        assert not np.isin(job.values.astype(np.float32), job.codebook.thresholds).any()


@pytest.mark.parametrize("bits", [1, 2, 5, 8])
@pytest.mark.parametrize(
    ("peer", "dtype"),
    [*(("numpy", dtype) for dtype in DTYPES), *((peer, "float32") for peer in peers.PEERS)],
)
def test_peers_do_what_the_core_does(peer: str, dtype: str, bits: int) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    job = operations.generate((3, 5, 1001), dtype, bits)
    try:
        theirs = peers.PEERS[peer](job)
    except peers.UnsuitableError as reason:
        pytest.skip(str(reason))
    ours = operations.ours(job)
    assert list(ours) == list(operations.OPERATIONS)
    assert "quantize" in theirs and set(theirs) <= set(ours)
    for name, operation in theirs.items():
        np.testing.assert_array_equal(operation.run(), ours[name].run(), err_msg=name)


def test_operations_make_what_they_say() -> None:
    job = operations.generate((4, 33), "float32", 3)
    made = {name: operation.run().tobytes() for name, operation in operations.ours(job).items()}
    indices, packed = job.indices().tobytes(), job.packed().tobytes()
    values = job.codebook.dequantize(job.indices()).tobytes()
    assert made == {
        **dict.fromkeys(("quantize", "unpack"), indices),
        **dict.fromkeys(("pack", "quantize_pack", "encode"), packed),
        **dict.fromkeys(("lut", "unpack_lut", "decode"), values),
    }


# ------------------------------------------------------------------ timing


def test_calls_take_turns() -> None:
    seen: list[str] = []
    medians = timing.median_ns([lambda: seen.append("a"), lambda: seen.append("b")], 0)
    assert len(medians) == 2 and min(medians) > 0
    assert "".join(seen) == "aabb" + 3 * "ab"


def test_memory_speed_leaves_the_buffer_alone() -> None:
    buffer = np.arange(1001, dtype=np.uint8)
    before = buffer.copy()
    speed = timing.memory_speed(buffer, 0)
    assert min(speed.read, speed.memcpy, speed.memset) > 0
    assert re.fullmatch(r"np\.\w+\.reduce of (uint8|int32|int64)", speed.read_by)
    np.testing.assert_array_equal(buffer, before)


# ------------------------------------------------------------------ bench kernels


def test_kernels_as_json() -> None:
    dtypes = [name for name in DTYPES if name != "bfloat16"]
    args = ("--bits", "1,3", "--dtype", ",".join(dtypes), "--shape", "4x9x9", "--sizes", "3kB")
    found = json.loads(run("bench", "kernels", *args, *QUICK, "--json").stdout)
    assert list(found) == list(kernels.KernelReport.__dataclass_fields__)
    assert found["machine"]["kernels"] == core.kernels_name()
    inputs = [f"{size} {dtype}" for dtype in dtypes for size in ("4x9x9", "3kB")]
    buffers = [buffer for name in inputs for buffer in (name, f"{name} indices")]
    for speeds in ("read_gb_s", "memcpy_gb_s", "memset_gb_s"):
        assert list(found[speeds]) == buffers and min(found[speeds].values()) > 0
    assert list(found["read_by"]) == buffers
    rows = [row for row in found["rows"] if row["overhead_ns"] is None]
    for kernel in (core.kernels_name(), "numpy"):
        places = [(row["input"], row["bits"], row["op"]) for row in rows if row["kernel"] == kernel]
        assert places == [
            (name, bits, op) for name in inputs for bits in (1, 3) for op in operations.OPERATIONS
        ]
    by_place = {
        (row["input"], row["bits"], row["op"]): row for row in rows if row["kernel"] == "numpy"
    }
    for row in rows:
        numpy = by_place[row["input"], row["bits"], row["op"]]
        assert row["times_numpy"] == pytest.approx(
            numpy["ns_per_element"] / row["ns_per_element"], rel=0.01
        )
        indices = " indices" if row["op"] in ("pack", "unpack") else ""
        size = 1 if indices else np.dtype(row["dtype"]).itemsize
        read = found["read_gb_s"][row["input"] + indices]
        assert row["of_read_speed"] == pytest.approx(size / row["ns_per_element"] / read, rel=0.01)
        count = 324 if row["input"].startswith("4x9x9") else 3000 // np.dtype(row["dtype"]).itemsize
        assert row["elements"] == count
    calls = [row for row in found["rows"] if row["overhead_ns"] is not None]
    assert [row["op"] for row in calls] == ["call_overhead encode", "call_overhead quantize_pack"]
    assert [row["elements"] for row in calls] == [512, 512]
    for skipped in found["skipped"]:
        assert skipped["name"] in peers.PEERS and skipped["name"] != "numpy" and skipped["reason"]


def test_kernels_as_csv_and_for_people() -> None:
    args = ("bench", "kernels", "--shape", "500", "--bits", "2", "--no-peers", "--cpu", "none")
    rows = list(csv.DictReader(io.StringIO(run(*args, *QUICK, "--csv").stdout)))
    assert [row["op"] for row in rows[:-2]] == list(operations.OPERATIONS)
    assert {row["kernel"] for row in rows} == {"reference"}
    assert all(float(row["ns_per_element"]) > 0 for row in rows)
    assert {row["times_numpy"] for row in rows} == {""}
    text = run(*args, *QUICK).stdout
    for word in ("500 float32: read", "memcpy", "memset", "call_overhead encode", "kernels: ref"):
        assert word in text
    for op in operations.OPERATIONS:
        assert re.search(rf"^ *{op} +2 +reference +[\d.]+ +[\d.]+", text, re.MULTILINE)


def test_kernels_of_a_file(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float16)
    np.save(tmp_path / "one.npy", values)
    np.savez(tmp_path / "set.npz", test=values, centroids=np.float32([0, 1]))
    for name in ("one.npy", "set.npz"):
        args = ("bench", "kernels", tmp_path / name, "--bits", "4", "--no-peers", *QUICK)
        rows = json.loads(run(*args, "--json").stdout)["rows"]
        assert {row["input"] for row in rows[:-2]} == {f"{name} float16"}
        assert {row["elements"] for row in rows[:-2]} == {150}
    error = run(*args, "--dtype", "int8", expect=2).stderr
    assert "--dtype" in error and "int8" in error and "FILE" in error


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--bits", "2,9"), ("--bits", "'9'", "1 to 8")),
        (("--bits", "two"), ("--bits", "'two'", "1 to 8")),
        (("--dtype", "float64"), ("--dtype", "'float64'", "float32, float16")),
        (("--shape", "3x"), ("--shape", "'3x'", "64x56x56")),
        (("--shape", "2x0x9"), ("--shape", "'2x0x9'", "8 to")),
        (("--shape", "2x3"), ("--shape", "'2x3'", "8 to")),
        (("--sizes", "64"), ("--sizes", "'64'", "64MB")),
        (("--sizes", "1.2.3MB"), ("--sizes", "'1.2.3MB'", "64MB")),
        (("--sizes", "9999GB"), ("--sizes", "'9999GB'", "536870911")),
        (("--cpu", "avx9"), ("--cpu", "'avx9'", "reference")),
        (("--seconds", "-1"), ("--seconds", "-1", "0 to")),
        (("--seconds", "nan"), ("--seconds", "nan", "0 to")),
        (("--json", "--csv"), ("--csv", "--json")),
    ],
)
def test_wrong_options(args: tuple[str, ...], says: tuple[str, ...]) -> None:
    error = run("bench", "kernels", *args, expect=2).stderr
    for word in says:
        assert word in error


def test_an_extra_that_is_missing_is_said(tmp_path: Path) -> None:
    (tmp_path / "ml_dtypes.py").write_text("raise ImportError('gone', name='ml_dtypes')\n")
    path = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    args = ("bench", "kernels", "--dtype", "bfloat16", "--shape", "99", *QUICK)
    assert "pysplitcodec[bfloat16]" in run(*args, expect=4, env=path).stderr


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros(100), "float64"),
        (np.zeros(3, np.float32), "has 3 elements: expected 8 to"),
        (np.full(100, np.nan, np.float32), "100 values that are not finite"),
        (np.zeros(100, np.float32), "repeated"),
    ],
)
def test_wrong_features(array: Any, says: str, tmp_path: Path) -> None:
    np.save(tmp_path / "wrong.npy", array)
    assert says in run("bench", "kernels", tmp_path / "wrong.npy", expect=3).stderr


def test_wrong_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=np.zeros(9), b=np.zeros(9))
    np.savez(tmp_path / "none.npz", centroids=np.float32([0, 1]))
    (tmp_path / "text.npy").write_text("hello")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and no more")
    for name in ("two.npz", "none.npz", "text.npy", "broken.npz"):
        assert name in run("bench", "kernels", tmp_path / name, expect=3).stderr
    assert "absent.npz" in run("bench", "kernels", tmp_path / "absent.npz", expect=2).stderr


def tampered(job: operations.Job) -> dict[str, operations.Operation]:
    """numpy's operations, but for an index that is another one."""
    found = peers._numpy(job)

    def wrong(indices: Any) -> Any:
        indices = indices.copy()
        indices[3] ^= 1
        return indices

    return {"quantize": operations.Operation(found["quantize"].call, wrong)}


def measure(monkeypatch: pytest.MonkeyPatch, **changed: Any) -> kernels.KernelReport:
    monkeypatch.setattr(kernels, "PEERS", {"numpy": peers._numpy, **changed})
    report = kernels.KernelReport()
    given = kernels.Input("some", lambda bits: operations.generate((999,), "float32", bits))
    kernels.measure(report, [given], [2], peers=True, seconds=0, progress=str)
    return report


def test_a_peer_that_differs_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    report = measure(monkeypatch, other=tampered)
    assert {row["kernel"] for row in report.rows} == {core.kernels_name(), "numpy"}
    (skipped,) = report.skipped
    assert skipped["name"] == "other" and skipped["op"] == "quantize"
    assert skipped["reason"] == "gives 1 other elements"


def test_a_peer_that_is_not_there_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    (skipped,) = measure(monkeypatch, other=lambda _: peers._import("not_there_at_all")).skipped
    assert skipped["reason"] == "not installed" and skipped["op"] is None


def test_a_slow_peer_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_PATIENCE_S", -1.0)
    report = measure(monkeypatch)
    assert {row["kernel"] for row in report.rows} == {core.kernels_name()}
    assert [one["op"] for one in report.skipped] == list(operations.OPERATIONS)
    assert all("a call" in one["reason"] for one in report.skipped)
    assert {row["times_numpy"] for row in report.rows} == {None}


def test_a_core_that_differs_from_numpy_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    right = operations.ours

    def wrong(job: operations.Job) -> dict[str, operations.Operation]:
        return {**right(job), "quantize": tampered(job)["quantize"]}

    monkeypatch.setattr(kernels, "ours", wrong)
    with pytest.raises(RuntimeError, match="quantize of 999 float32 at 2 bits gives 1 elements"):
        measure(monkeypatch)


# ------------------------------------------------------------------ what comes out


def test_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    right, calls = kernels.median_ns, []

    def interrupted(*args: Any) -> Any:
        calls.append(args)
        if len(calls) > 4:
            raise KeyboardInterrupt
        return right(*args)

    monkeypatch.setattr(kernels, "median_ns", interrupted)
    done = invoke("bench", "kernels", "--shape", "999", "--no-peers", *QUICK, "--json")
    assert done.exit_code == 130
    assert len(json.loads(done.stdout)["rows"]) == 4
    assert "interrupted" in done.stderr


def test_every_column_is_explained() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    args = ("--shape", "99", "--bits", "1", "--no-peers", *QUICK, "--json")
    report = json.loads(invoke("bench", "kernels", *args).stdout)
    names = {*machine.info(), *report, *report["rows"][0]}
    assert [name for name in names if f"`{name}`" not in text and f'"{name}"' not in text] == []
    assert [op for op in operations.OPERATIONS if f"`{op}`" not in text] == []
    assert [peer for peer in peers.PEERS if f"`{peer}`" not in text] == []
