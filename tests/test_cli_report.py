"""`splitcodec report`: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import run_examples

pytest.importorskip("typer", reason="the command line needs the extra 'cli'")

from typer.testing import CliRunner

from pysplitcodec.cli.app import app
from pysplitcodec.plan import Candidate, DeviceProfile, Link, evaluate, save_devices
from pysplitcodec.report.runs import read_rows


def run(*args: object, expect: int = 0) -> Any:
    """Give what `splitcodec report` did."""
    done = CliRunner().invoke(app, ["report", *map(str, args)], env={"COLUMNS": "250"})
    assert done.exit_code == expect, (done.output, done.exception)
    return done


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = run_examples.runs(("kmeans", "bottlenet", "tcl"), (1, 2), (0, 1))
    return run_examples.write(tmp_path / "runs", found)


def test_tables(folder):
    done = run(folder)
    assert "resnet20 on cifar10 (20,000 + 10,000 samples)" in done.stdout
    assert "speed-up at 1 Mbit/s on raspberry-pi-4, context" in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    assert sum(line[:3] == ["2", "tcl", "0,1"] for line in lines) == 2  # in either table
    assert done.stderr == ""


def test_json_has_the_rows_with_latency(folder, tmp_path):
    board = DeviceProfile("board", macs_per_s=1e9, encode_ns_per_element={"lzma": 100.0})
    board = DeviceProfile.from_dict(
        "board", {**board.to_dict(), "sources": dict.fromkeys(board.to_dict(), "a test")}
    )
    save_devices([board], tmp_path / "board.toml")
    done = run(folder, "--coder", "lzma", "--device", tmp_path / "board.toml", "--json")
    found = json.loads(done.stdout)
    assert (found["coder"], found["device"]) == ("lzma", "board")
    rows = read_rows([folder])
    assert [{**row, "latency_s": None} for row in found["rows"]] == [
        {**row, "latency_s": None} for row in rows
    ]
    row = found["rows"][-1]
    assert (row["method"], row["split"]) == ("tcl", "layer3")
    size = row["bytes"]["lzma"]["mean"]
    one = Candidate("layer3", row["head"]["macs"], 0, 16 * 4 * 4, "lzma", size)
    wanted = evaluate(one, board, Link("link", 5e6))
    assert row["latency_s"]["5000000"] == pytest.approx(wanted.latency_s)


def test_files_are_rebuilt_from_the_rows(folder, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra 'plot'")
    first, second = tmp_path / "first", tmp_path / "second"
    done = run(folder, "-o", first, "--json")
    assert "wrote" in done.stderr
    assert {row["method"] for row in json.loads(done.stdout)["rows"]} >= {"tcl", "bottlenet"}
    run(first / "rows.json", "--out", second)
    names = sorted(path.name for path in first.iterdir())
    assert names == [
        *(f"bytes-cifar10-resnet20.{kind}" for kind in ("png", "svg")),
        *(f"latency-cifar10-resnet20.{kind}" for kind in ("png", "svg")),
        *("page.html", "rows.json", "tables.md"),
    ]
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    text = (first / "tables.md").read_text(encoding="utf-8")
    assert text.count("speed-up at") == 4
    assert "abc1234" in text


def test_bad_input_is_told(folder, tmp_path):
    broken = next(folder.rglob("run.json"))
    assert (
        "--coder is 'rans': the runs have pack, lzma, context"
        in run(folder, "--coder", "rans", expect=3).stderr
    )
    assert "raspberry-pi-4" in run(folder, "--device", "abacus", expect=3).stderr
    (tmp_path / "empty").mkdir()
    assert "has no run.json" in run(tmp_path / "empty", expect=3).stderr
    run(tmp_path / "absent", expect=2)
    broken.write_text(broken.read_text().replace('"seed": 0', '"seed": -1'))
    message = run(folder, expect=3).stderr
    assert f"{broken}: seed is -1: expected a whole number from 0" in message.replace("\n", "")
