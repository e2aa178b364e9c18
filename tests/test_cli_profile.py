"""`splitcodec profile`: what it measures can be loaded, and what it lists is what is shipped."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from command import run

import pysplitcodec as sc
from pysplitcodec.bench import device
from pysplitcodec.plan import (
    Candidate,
    DeviceProfile,
    evaluate,
    get_link,
    load_devices,
    load_links,
)

pytest.importorskip("typer", reason="the command line needs the extra 'cli'")

QUICK = ("--seconds", "0")
CODERS = [name for name, there in sc.coders().items() if there]
# Of three convolutions of ResNet-18.
MACS = 3 * 64 * 64 * 9 * 56 * 56


def test_a_profile_is_written_and_loaded(tmp_path: Path) -> None:
    file = tmp_path / "here.toml"
    printed = json.loads(run("profile", "-o", file, "--name", "pi", *QUICK, "--json").stdout)
    (found,) = load_devices(file).values()
    assert printed == {"name": "pi", **found.to_dict()}
    assert found.name == "pi" and found.macs_per_s is not None and found.macs_per_s > 1e6
    assert list(found.encode_ns_per_element) == CODERS
    assert found.model_times == () and found.ram_bytes is not None and found.ram_bytes > 1 << 26
    link = get_link("1-mbit")
    cost = evaluate(Candidate("a", 1e6, 0, 1e4, "lzma", 1e3), found, link)
    assert cost.latency_s > cost.link_s == 0.008


def test_models_are_run(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs LiteRT")
    model, file = tmp_path / "digits.tflite", tmp_path / "here.toml"
    model.write_bytes((resources.files("pysplitcodec") / "data" / "digits.tflite").read_bytes())
    text = run("profile", model, "-o", file, "--threads", 2, *QUICK).stdout
    assert "digits, 0.2 M MACs" in text and "2 threads" in text
    found = load_devices(file)["this-machine"]
    (time,) = found.model_times
    assert time.model == "digits" and time.macs > 200_000
    assert found.macs_per_s is None and found.effective_macs_per_s == time.macs_per_s


def measured(monkeypatch: pytest.MonkeyPatch) -> DeviceProfile:
    """A profile of a machine on which everything takes a second."""
    monkeypatch.setattr(device, "median_ns", second_each)
    return device.measure_device("d", (), threads=1, seconds=0, progress=str)


def second_each(calls: Any, _: float) -> list[float]:
    for call in calls:
        call()
    return [1e9 for _ in calls]


def test_figures_are_work_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.importlib.util, "find_spec", lambda _: None)
    found = measured(monkeypatch)
    assert found.macs_per_s == pytest.approx(MACS, rel=1e-3)
    assert "numpy" in found.sources["macs_per_s"]
    per_element = pytest.approx(1e9 / (8 * 12 * 32 * 32), rel=1e-3)
    assert found.encode_ns_per_element == dict.fromkeys(CODERS, per_element)


def test_torch_computes_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        device._convolutions()()
    assert counter.get_total_flops() == 2 * MACS
    threads = torch.get_num_threads()
    monkeypatch.setattr(device, "median_ns", second_each)
    macs_per_s, source = device._macs_per_s(threads + 1, 0)
    assert macs_per_s == pytest.approx(MACS, rel=1e-3)
    assert f"torch {torch.__version__}, {threads + 1} threads" in source
    assert torch.get_num_threads() == threads


def test_the_list_is_what_is_shipped() -> None:
    found = json.loads(run("profile", "--list", "--json").stdout)
    assert [one.pop("name") for one in found["devices"]] == list(load_devices())
    assert [one["name"] for one in found["links"]] == list(load_links())
    for one, shipped in zip(found["devices"], load_devices().values()):
        assert DeviceProfile.from_dict(shipped.name, one) == shipped
    text = run("profile", "--list").stdout
    for part in (*load_devices(), *load_links(), "QPART, Table II", "resnet152, 11,513.6 M MACs"):
        assert part in text


@pytest.mark.parametrize(
    ("args", "expect", "says"),
    [
        (("--seconds", "nan"), 3, "--seconds is nan: expected 0 to"),
        (("--list", "-o", "x.toml"), 3, "--list is of what is shipped"),
        (("absent.onnx",), 2, "absent.onnx"),
        (("--threads", "0"), 2, "--threads"),
    ],
)
def test_wrong_options(args: tuple[str, ...], expect: int, says: str) -> None:
    assert says in run("profile", *args, expect=expect).stderr


def test_models_without_macs(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    ends = [onnx.helper.make_tensor_value_info(name, 1, [1, 4]) for name in "xy"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:]
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "r.onnx"
    )
    error = run("profile", tmp_path / "r.onnx", *QUICK, expect=3).stderr
    assert "ModelError" in error and "MACs are not known, or there are none" in error
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    assert "ModelError" in run("profile", tmp_path / "bad.onnx", expect=3).stderr
