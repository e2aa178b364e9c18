"""Devices, links, and what a split costs in time."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pysplitcodec import plan
from pysplitcodec.errors import ArgumentError, MissingDependencyError
from pysplitcodec.plan import DeviceProfile, Link, ModelTime, shannon_bits_per_s

DOCS = Path(__file__).parents[1] / "docs"
DEVICE = DeviceProfile("d", macs_per_s=2e9, encode_ns_per_element={"lzma": 100.0, "pack": 1.0})
# Instructions per element of a coder on a Cortex-M4 are over so many: docs/results/coders.md.
ELEMENTS = 12 * 32 * 32


def test_examples() -> None:
    for name in ("", ".device", ".link", ".cost", ".search"):
        found = doctest.testmod(importlib.import_module(f"pysplitcodec.plan{name}"))
        assert found.failed == 0
        assert found.attempted or name == ".device"


def test_imports_numpy_alone() -> None:
    code = (
        "import sys; import pysplitcodec.plan as plan; plan.get_device('gap8');"
        "print({'torch', 'ai_edge_litert', 'onnx', 'typer', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


# ------------------------------------------------------------------ links


@pytest.mark.parametrize(("size", "packets"), [(1, 1), (20, 1), (21, 2), (2_400, 120), (0, 0)])
def test_every_packet_has_its_overhead(size: int, packets: int) -> None:
    link = plan.get_link("ble-4.0")
    assert link.bytes_sent(size) == size + 17 * packets
    assert link.seconds(size) == pytest.approx(0.0075 + 8e-6 * (size + 17 * packets))


def test_lost_packets_are_sent_again_and_pauses_are_between_packets() -> None:
    link = Link("l", 8e6, packet_payload_bytes=100, packet_interval_s=0.01, loss=0.5)
    assert link.bytes_sent(1_000) == 2_000  # each packet twice, on average
    assert link.airtime_s(1_000) == 0.002
    assert link.seconds(1_000) == pytest.approx(0.002 + 19 * 0.01)
    assert dataclasses.replace(link, loss=0.0).seconds(100) == 0.0001


def test_capacity() -> None:
    assert shannon_bits_per_s(2e6, 1.0, 7e-9, 1e-9) == pytest.approx(6e6)
    with pytest.raises(ArgumentError, match="noise_w is 0"):
        shannon_bits_per_s(1e6, 1.0, 1e-9, 0)


def test_larger_packets_are_faster() -> None:
    short, long = plan.get_link("ble-4.0"), plan.get_link("ble-4.2")
    assert long.seconds(2_400) < 0.7 * short.seconds(2_400)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"bits_per_s": 0}, "bits_per_s is 0: expected a number above 0"),
        ({"bits_per_s": -1e6}, "bits_per_s is -1000000.0"),
        ({"bits_per_s": "1 Mbit/s"}, "bits_per_s is '1 Mbit/s'"),
        ({"latency_s": -1}, "latency_s is -1"),
        ({"packet_payload_bytes": 0}, "packet_payload_bytes is 0"),
        ({"packet_payload_bytes": 9, "packet_overhead_bytes": -1}, "packet_overhead_bytes is -1"),
        ({"packet_overhead_bytes": 8}, "expected packet_payload_bytes beside it"),
        ({"packet_interval_s": 0.1}, "packet_interval_s is 0.1: expected packet_payload_bytes"),
        ({"loss": 0.1}, "loss is 0.1: expected packet_payload_bytes"),
        ({"packet_payload_bytes": 9, "loss": 1}, "loss is 1: expected 0 to below 1"),
        ({"packet_payload_bytes": 9, "loss": -0.1}, "loss is -0.1"),
        ({"transmit_power_w": 0}, "transmit_power_w is 0"),
    ],
)
def test_wrong_links(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ArgumentError, match=f"link mine: .*{re.escape(says)}"):
        Link("mine", **{"bits_per_s": 1e6, **wrong})


# ------------------------------------------------------------------ devices


def test_model_times_stand_in_for_a_rate() -> None:
    times = (ModelTime("a", 100, 1.0, "here"), ModelTime("b", 900, 4.0, "here"))
    device = DeviceProfile("d", model_times=times)
    assert device.effective_macs_per_s == 200
    assert device.compute_s(50) == 0.25
    like = device.like("a")
    assert like.effective_macs_per_s == 100
    assert like.sources["macs_per_s"] == "MACs / seconds of a: here"
    with pytest.raises(ArgumentError, match="model of device d is 'c': expected one of a, b"):
        device.like("c")


def test_a_device_without_a_rate_says_so() -> None:
    with pytest.raises(ArgumentError, match=r"stm32f7 has no macs_per_s.*splitcodec profile"):
        plan.get_device("stm32f7").compute_s(1)


@pytest.mark.parametrize("kind", ["device", "link"])
def test_unknown_names_list_those_there_are(kind: str) -> None:
    known = ", ".join(plan.load_devices() if kind == "device" else plan.load_links())
    with pytest.raises(ArgumentError, match=f"{kind} is 'pi': expected one of {re.escape(known)}"):
        (plan.get_device if kind == "device" else plan.get_link)("pi")


@pytest.mark.parametrize(
    "wrong",
    [{"macs_per_s": 0}, {"ram_bytes": -1}, {"power_w": True}, {"flash_bytes": float("inf")}],
)
def test_wrong_devices(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=f"device d: {next(iter(wrong))} is"):
        DeviceProfile("d", **wrong)
    with pytest.raises(ArgumentError, match="encode_ns_per_element of lzma is -1"):
        DeviceProfile("d", encode_ns_per_element={"lzma": -1})
    with pytest.raises(ArgumentError, match="time of m: seconds is 0"):
        ModelTime("m", 1, 0, "here")


def test_derived_figures_are_those_of_the_documents() -> None:
    text = (DOCS / "results" / "coders.md").read_text(encoding="utf-8")
    counts = {}
    for line in text[text.index("## On a Cortex-M4") :].splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 14 and cells[2] == "2":
            counts[cells[1], cells[3]] = int(cells[10].replace(",", "")) / ELEMENTS
    models = {"lzma": "", "range": "2617", "rans": "396", "context": "4080"}
    for name, hz, packing in (
        ("raspberry-pi-4", 1.5e9, 0.88),
        ("raspberry-pi-4-ncnn", 1.8e9, 0.88),
        ("jetson-nano", 1.479e9, 0.88),
        ("jetson-nano-tensorrt", 1.479e9, 0.88),
        ("stm32f7", 200e6, 4.7),
        ("gap8", 150e6, 1.44),
    ):
        expected = {"pack": packing / hz * 1e9}
        for coder, model in models.items():
            expected[coder] = (packing + counts[coder, model]) / hz * 1e9
        found = plan.get_device(name).encode_ns_per_element
        assert found == pytest.approx(expected, rel=1e-3), name
    assert plan.get_device("qpart").macs_per_s == 200e6 / 5


def test_shipped_macs_are_of_these_architectures(architecture: Any) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    for name in ("mobilenet_v2", "resnet18"):
        model, example = architecture(name, 224)
        with FlopCounterMode(display=False) as counter:
            model(example)
        counted = int(counter.get_total_flops()) // 2
        for device in plan.load_devices().values():
            assert {t.macs for t in device.model_times if t.model == name} <= {counted}


# ------------------------------------------------------------------ docs/planning.md


def test_the_page_names_what_is_shipped() -> None:
    text = (DOCS / "planning.md").read_text(encoding="utf-8")
    devices = text[: text.index("## Shipped links")]
    rows = dict(re.findall(r"^\| `([\w.-]+)` \| ([\d.]+) \|", devices, re.MULTILINE))
    for name, device in plan.load_devices().items():
        if name == "stm32f7":
            assert "| `stm32f7` | not published |" in text
        else:
            assert f"{device.effective_macs_per_s / 1e9:.3g}" == f"{float(rows[name]):.3g}", name
    assert [name for name in plan.load_links() if f"`{name}`" not in text] == []


def test_the_examples_of_the_page(tmp_path: Path) -> None:
    text = (DOCS / "planning.md").read_text(encoding="utf-8")
    found: dict[str, Any] = {}
    for example in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(example, found)
    assert found["cost"].compute_s == pytest.approx(0.044, abs=5e-4)
    device, link = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "pi.toml").write_text(device, encoding="utf-8")
    (tmp_path / "links.toml").write_text(link, encoding="utf-8")
    fields = {field.name for field in dataclasses.fields(DeviceProfile)} - {"name"}
    assert set(Link.__dataclass_fields__) - {"name", "description"} <= set(re.findall(r"\w+", link))
    pi = plan.load_devices(tmp_path / "pi.toml")["pi"]
    assert set(pi.to_dict()) == fields
    assert plan.load_links(tmp_path / "links.toml")["office-wifi"].packet_overhead_bytes == 76


# ------------------------------------------------------------------ TOML


def test_what_is_shipped_is_saved_and_loaded(tmp_path: Path) -> None:
    shipped = plan.load_devices()
    assert {"raspberry-pi-4", "jetson-nano", "gap8", "stm32f7", "qpart"} <= set(shipped)
    plan.save_devices(shipped.values(), tmp_path / "devices.toml")
    assert plan.load_devices(tmp_path / "devices.toml") == shipped


def test_odd_texts_are_kept(tmp_path: Path) -> None:
    texts = 'a "quoted"\n\\line\x7f\x00 µs 😀 [x] = 1'
    odd = dataclasses.replace(
        DEVICE,
        name=texts,
        description=texts,
        sources={"macs_per_s": texts, "encode_ns_per_element": texts},
        model_times=(ModelTime(texts, 1, 1e-30, texts),),
    )
    plan.save_devices([odd, dataclasses.replace(odd, name="b.c")], tmp_path / "odd.toml")
    assert list(plan.load_devices(tmp_path / "odd.toml")) == [texts, "b.c"]
    assert plan.load_devices(tmp_path / "odd.toml")[texts] == odd


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has nothing at its top"),
        ("macs_per_s = 1", "has macs_per_s at its top: expected one table"),
        ("[d", "is no TOML"),
        ("\udcff[d]", "is no TOML"),
        ("[d]\nmacs_per_s = 1", "device d lacks sources"),
        ("[d]\nmacs = 1\n[d.sources]", "device d has macs: expected keys of description, macs_per"),
        ("[d]\nmacs_per_s = 1\n[d.sources]", "without a source, or the reverse: macs_per_s"),
        ("[d.sources]\npower_w = 'x'", "without a source, or the reverse: power_w"),
        ("[d]\nsources = 'x'", "device d has sources 'x': expected a text for each figure"),
        ("[d.sources]\npower_w = 1", "expected a text for each figure"),
        ("[d]\npower_w = -1\nsources.power_w = 'x'", "device d: power_w is -1"),
        ("[d]\nencode_ns_per_element = 1\nsources.encode_ns_per_element = 'x'", "expected a table"),
        ("[d]\nmodel_times = 1\nsources = {}", "model_times 1: expected a list of tables"),
        ("[d]\nmodel_times = [{macs = 1}]\nsources = {}", "lacks model, seconds, source"),
    ],
)
def test_wrong_files_of_devices(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ArgumentError, match=re.escape(says)):
        plan.load_devices(file)


def test_files_of_links(tmp_path: Path) -> None:
    file = tmp_path / "links.toml"
    file.write_text("[mine]\nbits_per_s = 3e5\nsources.bits_per_s = 'iperf3'\n")
    assert plan.load_links(file)["mine"].seconds(300) == pytest.approx(0.008)
    file.write_text("[mine]\nlatency_s = 1\nsources.latency_s = 'ping'\n")
    with pytest.raises(ArgumentError, match="link mine lacks bits_per_s"):
        plan.load_links(file)
    file.write_text("[mine]\nbytes_per_s = 1\n[mine.sources]\n")
    with pytest.raises(ArgumentError, match="link mine has bytes_per_s: expected keys of bits_per"):
        plan.load_links(file)
    with pytest.raises(OSError, match=r"absent\.toml"):
        plan.load_links(tmp_path / "absent.toml")


def test_before_python_3_11_tomli_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pysplitcodec.toml_file.sys.version_info", (3, 10))
    monkeypatch.setitem(sys.modules, "tomli", None)
    with pytest.raises(MissingDependencyError, match="tomli"):
        plan.load_devices()
