"""`splitcodec train`, run as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")

from command import run
from small_net import write_images

_PATHS = [str(Path(__file__).parent / "models"), os.environ.get("PYTHONPATH")]
MODELS = {"PYTHONPATH": os.pathsep.join(filter(None, _PATHS))}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    images = write_images(tmp_path / "images")
    file = tmp_path / "recipe.toml"
    file.write_text(
        f"""
[model]
name = "small_net:small_net"
[data]
name = "bars"
train = "$IMAGES/train"
test = "{images}/test"
mirror = false
[split]
at = "middle"
[method]
name = "tcl"
bits = 1
[schedule]
batch = 16
epochs = {{whole = 6, float = 2, device = 2, server = 1}}
"""
    )
    return file


def test_train(recipe: Path, tmp_path: Path) -> None:
    env = {**MODELS, "IMAGES": str(tmp_path / "images")}
    done = run("train", recipe, "-o", tmp_path / "runs", "--threads", 1, env=env)
    assert "bars-middle-tcl-b1-s0" in done.stdout
    stages = [line.split(":")[0].strip() for line in done.stderr.splitlines() if ": loss" in line]
    assert stages == ["whole", "bottleneck", "float", "device", "server"]
    folder = tmp_path / "runs" / "bars-middle-tcl-b1-s0"
    found = json.loads((folder / "run.json").read_text())
    assert f"{found['retrained']['top1']:.4f}" in done.stdout
    assert found["command"].startswith("splitcodec train ")
    assert {"head.pt2", "tail.pt2", "codec.json"} <= {file.name for file in folder.iterdir()}
    again = run("train", recipe, "-o", tmp_path / "runs", "--json", env=env)
    assert json.loads(again.stdout) == {"runs": {folder.name: found}}
    # what was trained serves
    image = next((tmp_path / "images" / "test" / "rising").iterdir())
    run("inspect", folder / "head.pt2", "--no-time")
    assert image.exists()


def test_train_without_a_split(recipe: Path, tmp_path: Path) -> None:
    text = recipe.read_text().replace('[split]\nat = "middle"\n', "").replace("bits = 1\n", "")
    recipe.write_text(text.replace('"tcl"', '"on-server"\nmax_drop = 0.1'))
    env = {**MODELS, "IMAGES": str(tmp_path / "images")}
    done = run("train", recipe, "-o", tmp_path / "runs", "--threads", 1, env=env)
    assert "bars-on-server-max_drop0.1" in done.stdout
    assert not list((tmp_path / "runs").rglob("*.pt2"))


def test_errors(recipe: Path, tmp_path: Path) -> None:
    failed = run("train", recipe, "-o", tmp_path / "runs", expect=3, env=MODELS)
    assert "names a variable that the environment does not have" in failed.stderr
    recipe.write_text(recipe.read_text().replace("bits = 1", "bits = 9"))
    failed = run("train", recipe, "-o", tmp_path / "runs", expect=3, env=MODELS)
    assert "bits is 9: expected 1 to 8" in failed.stderr


@pytest.mark.slow
def test_killed_anywhere(recipe: Path, tmp_path: Path) -> None:
    """A process that is killed at any time leaves what another goes on from, to the same end."""
    env = {**os.environ, **MODELS, "IMAGES": str(tmp_path / "images")}
    wanted = run("train", recipe, "-o", tmp_path / "a", "--threads", 1, env=env)
    command = [sys.executable, "-m", "pysplitcodec", "train", str(recipe), "--threads", "1"]
    command += ["-o", str(tmp_path / "b")]
    for seconds in (4.5, 5, 5.5, 6):
        process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
    got = run("train", recipe, "-o", tmp_path / "b", "--threads", 1, env=env)
    assert got.stdout == wanted.stdout
