"""Runs become rows, and rows tables."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any, Callable

import pytest
import run_examples

from pysplitcodec.errors import ArgumentError
from pysplitcodec.plan import DeviceProfile, Link
from pysplitcodec.report.run_latency import RATES, Latencies
from pysplitcodec.report.run_pictures import draw_pictures
from pysplitcodec.report.run_tables import (
    markdown,
    origin_table,
    percent,
    result_tables,
    speed_tables,
)
from pysplitcodec.report.runs import labels, read_rows, score, seeds, subjects, write_rows

LATENCIES = Latencies(
    DeviceProfile("test-board", macs_per_s=2e9, encode_ns_per_element={"context": 500.0})
)

_SCORES = ("whole", "float", "quantized", "retrained")


def _one(rows: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    (found,) = (row for row in rows if all(row[key] == value for key, value in wanted.items()))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return run_examples.write(tmp_path / "runs", run_examples.runs())


def test_a_row_for_each_method_split_and_width(folder):
    rows = read_rows([folder])
    assert len(rows) == 3 * (7 * 3 + 1) + 2  # BottleNet has no codebook
    assert all(seeds(row) == [0, 1, 2] for row in rows)
    # the whole models first, then from the input on, widths and methods as in the paper
    assert [row["method"] for row in rows[:4]] == ["on-device", "on-server", "bottlenet", "minmax"]
    assert list(dict.fromkeys(row["split"] for row in rows)) == [None, "layer1", "layer2", "layer3"]
    assert [row["bits"] for row in rows[3:24:7]] == [1, 2, 3]


def test_means_and_spreads(folder):
    row = _one(read_rows([folder]), method="tcl", split="layer2", bits=1)
    given = [
        run
        for run in run_examples.runs()
        if (run["method"], run["split"], run["bits"]) == ("tcl", "layer2", 1)
    ]
    for key, name in (("retrained", "top1"), ("whole", "top1"), ("bytes", "context")):
        values = [run[key][name] for run in given]
        assert row[key][name] == {
            "mean": pytest.approx(statistics.mean(values)),
            "deviation": pytest.approx(statistics.stdev(values)),
            "low": min(values),
            "high": max(values),
        }
    assert score(row) == row["retrained"]["top1"]
    assert row["quality"] is None
    assert [run["command"] for run in row["runs"]] == [run["command"] for run in given]


def test_one_seed_has_no_deviation(tmp_path):
    folder = run_examples.write(tmp_path, run_examples.runs(("tcl",), (2,), (4,)))
    row = _one(read_rows([folder]), method="tcl", split="layer1")
    assert row["retrained"]["top1"]["deviation"] is None
    assert percent(score(row)) == f"{100 * score(row)['mean']:.2f}"
    assert _one(read_rows([folder]), method="on-device")["bytes"] == {}


def test_what_was_trained_otherwise_is_another_row(tmp_path):
    runs = list(run_examples.runs(("tcl", "kmeans"), (2,), (0,)))
    longer = next(run for run in runs if run["method"] == "tcl")
    other = json.loads(json.dumps(longer))
    other["epochs"]["device"] = 30
    other["settings"]["task_weight"] = 0.5
    fewer = json.loads(json.dumps(longer))
    fewer["data"]["train"] = 5000
    rows = read_rows([run_examples.write(tmp_path, [*runs, other, fewer])])
    assert len(rows) == len(runs) + 2
    # what differs is told: of this method alone, and everywhere it stands
    assert set(labels(rows)) == {
        "on-device",
        "on-server",
        "kmeans",
        "tcl (task_weight=0.9, device epochs=3)",
        "tcl (task_weight=0.5, device epochs=30)",
    }
    assert len(result_tables(rows, "context")) == 2  # other data are not compared


def test_methods_of_parts_are_told_by_their_parts(tmp_path):
    (plain,) = (run for run in run_examples.runs(("tcl",), (2,), (0,)) if run["split"] == "layer1")
    runs = []
    for losses in ([], [{"name": "clustering", "tau": [3.0, 0.1]}, {"name": "rate"}]):
        runs.append(json.loads(json.dumps(plain)))
        quantizer = {"name": "centroids", "learned": True}
        runs[-1].update(method="composed", settings={"quantizer": quantizer, "losses": losses})
    assert labels(read_rows([run_examples.write(tmp_path, runs)])) == [
        "composed (losses=none)",
        "composed (losses=clustering(tau=[3.0, 0.1]) + rate)",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"task_weight": 0.9, "tau": [3.0, 0.1]}},
        {"epochs": {"float": 3, "device": 3, "server": 9}},
        {"learning_rate": None},
        {"bottleneck": None},
        {"cut_shape": [1, 2, 3]},
        {"feature_shape": [1, 2]},
        {"batch": 64},
        {"bfloat16": True},
        {"head": {"macs": 14_000_000, "parameters": 7}},
        {"data": {"name": "cifar10", "train": 20000, "test": 10000, "sha256": "e7c9"}},
        {"data": {"name": "cifar10", "train": 20000, "test": 9000}},
        {"model": "resnet32"},
        {"metrics": ["top5"], **{key: {"top5": 0.8} for key in _SCORES}},
        {"split": "layer9"},
        {"bits": 8},
        {"method": "tcl2"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_no_two_rows_look_the_same(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = run_examples.write(tmp_path, [_tcl(), {**_tcl(), **change}])
    rows = read_rows([folder])
    assert len(rows) == 2
    places = {
        (number, label, row["split"], row["bits"])
        for number, subject in enumerate(subjects(rows))
        for row, label in zip(subject.rows, subject.labels)
    }
    assert len(places) == 2
    cells = [
        cell for table in result_tables(rows, "context") for line in table.rows for cell in line
    ]
    assert cells.count(f"{rows[0]['bytes']['context']['mean']:.1f}") == 2


def test_what_runs_may_lack(tmp_path):
    first, second = _tcl(), {**_tcl(), "seed": 1}
    for run in (first, second):
        for key in ("input_bytes", "learning_rate", "bfloat16"):
            del run[key]
    first["step_s"]["float"] = second["commit"] = None  # taken from another run; no repository
    (row,) = read_rows([run_examples.write(tmp_path, [first, second])])
    assert set(row["step_s"]) == {"device", "server"}
    assert row["input_bytes"] is row["bfloat16"] is row["quality"] is None
    assert origin_table([row]).rows[0][7] == "abc1234, -"


def test_files_folders_and_published_rows_are_the_same(folder, tmp_path):
    rows = read_rows([folder])
    published = tmp_path / "tcl.json"
    write_rows(rows, published)
    assert read_rows([published]) == rows
    files = sorted(folder.rglob("run.json"))
    assert read_rows([*files[::-1], folder, files[0].parent]) == rows


def test_rows_and_runs_together(tmp_path):
    first = read_rows([run_examples.write(tmp_path / "a", run_examples.runs(("tcl",)))])
    write_rows(first, tmp_path / "rows.json")
    second = [run for run in run_examples.runs(("kmeans",)) if run["split"]]
    folder = run_examples.write(tmp_path / "b", second)
    together = read_rows([tmp_path / "rows.json", folder])
    assert len(together) == len(first) + 9
    with pytest.raises(ArgumentError, match=r"tcl of resnet20 at layer1 with 1 bits .* twice"):
        read_rows([tmp_path / "rows.json", run_examples.write(tmp_path / "c", [_tcl()])])


def test_a_seed_is_there_once(tmp_path):
    run = _tcl()
    folder = run_examples.write(tmp_path, [run, run])
    with pytest.raises(ArgumentError, match=r"tcl-1.run.json: seed is 0, as in .*tcl-0.run.json"):
        read_rows([folder])


def _tcl() -> dict[str, Any]:
    return next(run for run in run_examples.runs(("tcl",)) if run["split"])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: run.update(format=2), r"run.json: format is 2: expected 1"),
        (lambda run: run.pop("format"), r"run.json: format is null"),
        (lambda run: run.pop("bytes"), r"run.json: bytes is missing"),
        (lambda run: run.update(bits=9), r"bits is 9: expected a whole number from 1 to 8"),
        (lambda run: run.update(bits=True), r"bits is true"),
        (lambda run: run.update(seed=10**400), r"seed is 1000"),
        (lambda run: run["bytes"].update(lzma=10**400), r"bytes.lzma is 1000"),
        (lambda run: run.update(seed="0"), r"seed is \"0\": expected a whole number"),
        (lambda run: run["whole"].update(top1=88.1), r"whole.top1 is 88.1: .* from 0 to 1"),
        (lambda run: run["retrained"].update(top1=float("nan")), r"retrained.top1 is NaN"),
        (lambda run: run["retrained"].pop("top1"), r"retrained lacks 'top1'"),
        (lambda run: run["bytes"].update(lzma=-1), r"bytes.lzma is -1: expected a finite"),
        (lambda run: run["head"].pop("macs"), r"head.macs is missing"),
        (lambda run: run.update(head=3), r"head is 3: expected an object"),
        (lambda run: run.update(metrics=[]), r"metrics is \[\]: expected a list"),
        (lambda run: run["cut_shape"].append(0), r"cut_shape\[3\] is 0: expected .* from 1"),
        (lambda run: run.update(data="cifar10"), r"data is \"cifar10\": expected an object"),
    ],
)
def test_bad_runs_are_refused(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], Any], message: str
) -> None:
    run = _tcl()
    spoil(run)
    with pytest.raises(ArgumentError, match=message):
        read_rows([run_examples.write(tmp_path, [run])])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("\xff", "is no JSON"),
        ('{"format": 1, "rows": ["\\ud800"]}', "is no JSON text: .*surrogates"),
        ("[" * 100_000, "is no JSON"),
        ("[]", r"rows.json is \[\]: expected an object"),
        ('{"format": 1, "rows": 3}', "rows is no list"),
        ('{"format": 1, "rows": [4]}', "row 0 is 4"),
        ('{"format": 1, "rows": [{"model": "a"}]}', "row 0: data is missing"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ArgumentError, match=message):
        read_rows([path])


def test_a_bad_row_is_named(folder, tmp_path):
    rows = read_rows([folder])
    rows[3]["bytes"]["lzma"]["mean"] = "many"
    write_rows(rows, tmp_path / "rows.json")
    with pytest.raises(
        ArgumentError, match=r'rows.json: row 3: bytes.lzma.mean is "many": expected a finite'
    ):
        read_rows([tmp_path / "rows.json"])


def test_a_folder_without_runs(tmp_path):
    with pytest.raises(ArgumentError, match="has no run"):
        read_rows([tmp_path])
    with pytest.raises(FileNotFoundError):
        read_rows([tmp_path / "absent.json"])


def test_the_table_has_methods_by_split_points(folder):
    rows = read_rows([folder])
    (table,) = result_tables(rows, "context")
    assert table.columns[3:6] == ["layer1\ntop1 %", "layer1\nnot retrained", "layer1\ncontext B"]
    assert len(table.columns) == 3 + 3 * 3
    heads = [line[:3] for line in table.rows]
    assert heads[:2] == [["-", "bottlenet", "0,1,2"], ["1", "minmax", "0,1,2"]]
    assert len(heads) == 1 + 3 * 7
    line = next(line for line in table.rows if line[:2] == ["2", "tcl"])
    row = _one(rows, method="tcl", split="layer3", bits=2)
    assert line[9:] == [
        percent(row["retrained"]["top1"]),
        percent(row["quantized"]["top1"]),
        f"{row['bytes']['context']['mean']:.1f}",
    ]
    # a method with a coder of its own says so
    assert next(line for line in table.rows if line[1] == "bottlenet")[5] == "400.0 jpeg"
    assert any(
        note.startswith("on-server: top1") and note.endswith("B (jpeg)") for note in table.notes
    )
    (lzma,) = result_tables(rows, "lzma")
    assert lzma.rows[1][5] != table.rows[1][5]


def test_what_was_not_run_is_a_gap(tmp_path):
    runs = [
        run
        for run in run_examples.runs(("tcl", "kmeans"), (2,))
        if (run["method"], run["split"]) != ("tcl", "layer2")
    ]
    (table,) = result_tables(read_rows([run_examples.write(tmp_path, runs)]), "lzma")
    line = next(line for line in table.rows if line[1] == "tcl")
    assert line[6:9] == ["-", "-", "-"]
    assert "-" not in line[9:]


def test_markdown(folder):
    rows = read_rows([folder])
    text = markdown([*result_tables(rows, "context"), origin_table(rows)])
    lines = text.splitlines()
    assert lines[0] == "## resnet20 on cifar10 (20,000 + 10,000 samples)"
    assert lines[2].startswith("| bits | method | seeds | layer1 top1 % |")
    counts = {line.count("|") for line in lines if line.startswith("| ")}
    assert counts == {13, 10}
    assert sum("splitcodec train tcl.toml --seed 0; " in line for line in lines) == 9


def test_latency_is_that_of_the_plan(folder):
    rows = read_rows([folder])
    row = _one(rows, method="tcl", split="layer2", bits=3)
    found = LATENCIES.of(row, "context", 2_000_000)
    assert found.compute_s == row["head"]["macs"] / 2e9
    assert found.codec_s == pytest.approx(math.prod(row["feature_shape"]) * 500e-9)
    assert found.link_s == Link("a", 2e6).seconds(row["bytes"]["context"]["mean"])
    # nothing is sent from the device; what it takes to code as JPEG is not known
    whole = LATENCIES.of(_one(rows, method="on-device"), "context", 2_000_000)
    assert (whole.codec_s, whole.link_s) == (0, 0)
    assert LATENCIES.of(_one(rows, method="on-server"), "context", 1).compute_s == 0
    assert LATENCIES.uncounted(rows, "context") == ["jpeg"]
    assert LATENCIES.uncounted(rows, "lzma") == ["jpeg", "lzma"]


def test_speed_up_over_both_sides(folder):
    rows = read_rows([folder])
    (table,) = speed_tables(rows, LATENCIES, "context", RATES[0])
    line = next(line for line in table.rows if line[:2] == ["3", "tcl"])
    took, server, device = (
        LATENCIES.of(_one(rows, **wanted), "context", RATES[0]).latency_s
        for wanted in (
            {"method": "tcl", "split": "layer1", "bits": 3},
            {"method": "on-server"},
            {"method": "on-device"},
        )
    )
    assert line[3:6] == [f"{1e3 * took:.2f}", f"{server / took:.2f}", f"{device / took:.2f}"]
    assert "1 Mbit/s on test-board" in table.title
    assert "time to code is not counted: jpeg" in table.notes
    (alone,) = speed_tables([row for row in rows if row["split"]], LATENCIES, "context", RATES[0])
    assert alone.rows[0][4:6] == ["-", "-"]


def test_pictures_show_every_row(tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra 'plot'")
    methods = (*run_examples.METHODS, "channels", "slices")
    rows = read_rows(
        [run_examples.write(tmp_path / "runs", run_examples.runs(methods, (1, 2), (0,)))]
    )
    files = draw_pictures(rows, LATENCIES, "context", tmp_path)
    kinds = ("latency", "bytes")
    named = [f"{kind}-cifar10-resnet20.{end}" for kind in kinds for end in ("png", "svg")]
    assert [file.name for file in files] == named
    latency, sizes = ((tmp_path / name).read_text() for name in named[1::2])
    split = sum(row["split"] is not None for row in rows)
    assert latency.count('<g id="PathCollection_') == len(RATES) * split
    # matplotlib writes its texts as comments, too
    for text in ("1 Mbit/s", "10 Mbit/s"):
        assert latency.count(f"<!-- {text} -->") == 1
    assert latency.count("<!-- default -->") == len(RATES)
    assert "latency on test-board / ms (without coding of jpeg)" in latency
    for text in (*methods, "1 bit", "no codebook"):
        assert latency.count(f"<!-- {text} -->") == sizes.count(f"<!-- {text} -->") == 1
    assert all(f"<!-- split at layer{number} -->" in sizes for number in (1, 2, 3))
    assert files[0].read_bytes().startswith(b"\x89PNG")


def test_names_are_no_formulas(tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra 'plot'")
    run = {**_tcl(), "method": "a_$\\frac{^$", "model": "../x", "split": "$$"}
    rows = read_rows([run_examples.write(tmp_path / "runs", [run])])
    files = draw_pictures(rows, LATENCIES, "context", tmp_path)
    assert {file.parent for file in files} == {tmp_path}
    assert "a_$\\frac{^$" in files[1].read_text()


def test_methods_look_the_same_everywhere(tmp_path):
    runs = [
        *run_examples.runs(("kmeans", "qat", "tcl"), (1,), (0,)),
        *run_examples.runs(("tcl",), (1,), (0,), "tiny20"),
    ]
    varied = {**_tcl(), "settings": {"task_weight": 0.1}}
    rows = read_rows([run_examples.write(tmp_path, [*runs, varied])])
    first, second = subjects(rows)
    assert list(first.colours) == [
        "kmeans",
        "qat",
        "tcl (task_weight=0.1)",
        "tcl (task_weight=0.9)",
    ]
    assert len(set(first.colours.values())) == 4
    name = "tcl (task_weight=0.9)"
    assert second.colours == {name: first.colours[name]}
