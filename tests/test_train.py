"""Recipes carried out: stages, interruptions, files, bad input."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from small_net import SETTINGS, table, write_images  # noqa: E402

import pysplitcodec as sc  # noqa: E402
from pysplitcodec.errors import (  # noqa: E402
    ArgumentError,
    CheckpointError,
    ModelError,
    TrainingError,
)
from pysplitcodec.runtime import open_model  # noqa: E402
from pysplitcodec.train import Recipe, read_recipes, stage, train, train_all  # noqa: E402
from pysplitcodec.train.models import build_model, put_weights  # noqa: E402


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def recipe(images: Path, *args: Any, **parts: Any) -> Recipe:
    return Recipe.from_dict(table(images, *args, **parts))


@pytest.mark.parametrize("method", SETTINGS)
def test_run(images: Path, tmp_path: Path, method: str) -> None:
    run = train(recipe(images, method), tmp_path / "run")
    assert run == json.loads((tmp_path / "run" / "run.json").read_text())
    assert (run["method"], run["bits"], run["split"]) == (method, 2, "middle.2")
    assert run["cut_shape"] == [16, 8, 8]
    assert run["feature_shape"] == [4, 4, 4]
    for at in ("whole", "float", "quantized", "retrained"):
        assert 0.4 <= run[at]["top1"] <= 1
    assert run["whole"]["top1"] > 0.8  # else there is nothing to lose
    assert run["bytes"]["pack"] == 16
    assert all(0 < size <= 16 for size in run["bytes"].values())
    assert set(run["step_s"]) == {"whole", "bottleneck", "float", "device", "server"}
    # batch norms of the head have four numbers a channel; those of the bottleneck are folded
    assert run["head"]["parameters"] == (3 * 9 + 1) * 8 + 32 + (8 * 9 + 1) * 16 + 64 + 68 + 148


def test_bottlenet(images: Path, tmp_path: Path) -> None:
    parts = {
        "method": {"name": "bottlenet", "bits": 8, "quality": 60},
        "bottleneck": {"name": "bottlenet", "channels": 3, "stride": 2},
    }
    wanted = Recipe.from_dict({**table(images), **parts})
    run = train(wanted, tmp_path / "run", halves=True)
    assert run["feature_shape"] == [3, 4, 4]
    assert run["bits"] is None
    assert set(run["bytes"]) == {"jpeg"}
    assert run["settings"] == {"quality": 60, "channels": 3, "stride": 2}
    assert run["retrained"]["top1"] > 0.6


def test_unsplit(images: Path, tmp_path: Path) -> None:
    parts = {**table(images), "split": {"at": None}}
    parts["method"] = {"name": "on-device"}
    run = train(Recipe.from_dict(parts), tmp_path / "device")
    assert run["quantized"] == run["whole"]
    assert run["head"]["macs"] > 16 * 16 * 27 * 8
    parts["method"] = {"name": "on-server", "max_drop": 0.05}
    served = train(Recipe.from_dict(parts), tmp_path / "server")
    assert served["quantized"]["top1"] >= run["whole"]["top1"] - 0.05
    assert 0 < served["bytes"]["jpeg"] < served["input_bytes"]
    assert served["head"] == {"macs": 0, "parameters": 0}
    assert served["split"] is served["bits"] is served["retrained"] is None


@pytest.mark.skipif(importlib.util.find_spec("pycocotools") is None, reason="needs pycocotools")
def test_detector(tmp_path: Path) -> None:
    """Shapes are found by a detector that is cut in its backbone."""
    parts = {
        "model": {"name": "pysplitcodec.train.detector:shape_detector"},
        "data": {
            "name": "shapes",
            "task": "detection",
            "side": 32,
            "train_samples": 256,
            "test_samples": 40,
            "calibration_samples": 100,
        },
        "split": {"at": "backbone.stage2"},
        "method": {"name": "tcl", "bits": 3},
        "schedule": {
            "epochs": {"whole": 8, "float": 2, "device": 1, "server": 1},
            "batch": 16,
            "device": "cpu",
        },
    }
    run = train(Recipe.from_dict(parts), tmp_path / "run")
    assert run["metrics"] == ["mAP50", "mAP50-95"]
    assert run["cut_shape"] == [32, 8, 8]
    assert run["feature_shape"] == [8, 4, 4]
    for at in ("whole", "float", "quantized", "retrained"):
        assert 0 <= run[at]["mAP50-95"] <= run[at]["mAP50"] <= 1
    (log,) = (tmp_path / "stages").glob("whole-*.jsonl")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines[-1]["task"] < 0.7 * lines[0]["task"]
    assert lines[-1]["mAP50"] == run["whole"]["mAP50"] > 0
    assert set(run["bytes"]) == {"pack", "lzma", "range", "context"}


def test_stages_are_shared(images: Path, tmp_path: Path) -> None:
    steps: list[str] = []

    def progress(name: str, *_: Any) -> None:
        steps.append(name)

    first = train(recipe(images, "kmeans", 1), tmp_path / "a", progress=progress)
    assert set(steps) == {"whole", "bottleneck", "float", "device", "server"}
    for method, bits, trained in (
        ("minmax", 1, {"server"}),
        ("kmeans", 3, {"server"}),
        ("tcl", 1, {"device", "server"}),
    ):
        steps.clear()
        run = train(recipe(images, method, bits), tmp_path / f"{method}{bits}", progress=progress)
        assert set(steps) == trained
        assert run["whole"] == first["whole"]
    steps.clear()
    assert train(recipe(images, "kmeans", 1), tmp_path / "a", progress=progress) == first
    assert not steps


def test_seeds_differ_and_repeat(images: Path, tmp_path: Path) -> None:
    def trained(seed: int, folder: str) -> list[float]:
        schedule = {**table(images)["schedule"], "seed": seed}
        where = tmp_path / folder
        train(recipe(images, schedule=schedule), where / "run")
        (found,) = (where / "stages").glob("server-*.safetensors")
        return [float(tensor.double().sum()) for tensor in _tensors(found).values()]

    assert trained(0, "a") == trained(0, "b")
    assert trained(0, "c") != trained(1, "d")


A = ArgumentError


class _StopError(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.parametrize("method", ["kmeans", "tcl", "rate"])
@pytest.mark.parametrize("often", [True, False])
def test_interrupted_run_gives_the_same(
    images: Path, tmp_path: Path, method: str, often: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(recipe(images, method), tmp_path / "whole" / "run")
    monkeypatch.setattr(stage, "_SAVE_EVERY_S", -1.0 if often else 1e9)
    stops = [
        ("whole", 20),
        ("bottleneck", 5),
        ("float", 9),
        ("device", 1),
        ("device", 22),
        ("server", 7),
    ]

    def progress(name: str, done: int, *_: Any) -> None:
        if stops and (name, done) == stops[0]:
            stops.pop(0)
            raise _StopError

    for _ in range(len(stops)):
        with pytest.raises(_StopError):
            train(recipe(images, method), tmp_path / "parts" / "run", progress=progress)
    parts = train(recipe(images, method), tmp_path / "parts" / "run", progress=progress)
    assert not stops
    for name in ("whole", "float", "quantized", "retrained", "bytes"):
        assert parts[name] == whole[name]
    for kind in ("whole", "bottleneck", "float", "device", "server"):
        files = [
            next((tmp_path / at / "stages").glob(f"{kind}-*.safetensors"))
            for at in ("whole", "parts")
        ]
        tensors = [_tensors(file) for file in files]
        assert files[0].name == files[1].name
        assert list(tensors[0]) == list(tensors[1])
        for name, tensor in tensors[0].items():
            assert torch.equal(tensor, tensors[1][name]), name
    assert not list((tmp_path / "parts" / "stages").glob("*.part"))


def _tensors(file: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(file)


def test_bottleneck_stage_restores_and_leaves_the_rest(images: Path, tmp_path: Path) -> None:
    parts = table(images, "kmeans")
    parts["schedule"]["epochs"] = {"whole": 6, "bottleneck": 20, "float": 0, "device": 0}
    train(Recipe.from_dict(parts), tmp_path / "run")
    whole, trained = (
        _tensors(next((tmp_path / "stages").glob(f"{kind}-*.safetensors")))
        for kind in ("whole", "bottleneck")
    )
    kept = [name for name in trained if ".encoder." not in name and ".decoder." not in name]
    assert len(kept) == len(whole) > 10
    assert sorted(float(trained[name].double().sum()) for name in kept) == sorted(
        float(tensor.double().sum()) for tensor in whole.values()
    )
    (log,) = (tmp_path / "stages").glob("bottleneck-*.jsonl")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines[-1]["restoration"] < 0.7 * lines[0]["restoration"]
    assert lines[-1]["restoration"] < 1


def test_no_bottleneck_has_no_stage(images: Path, tmp_path: Path) -> None:
    run = train(recipe(images, "kmeans", bottleneck={"name": "none"}), tmp_path / "run")
    assert set(run["step_s"]) == {"whole", "float", "device", "server"}
    assert run["cut_shape"] == run["feature_shape"]


def test_server_stage_leaves_the_device(images: Path, tmp_path: Path) -> None:
    train(recipe(images, "tcl"), tmp_path / "run")
    before, after = (
        _tensors(next((tmp_path / "stages").glob(f"{kind}-*.safetensors")))
        for kind in ("device", "server")
    )
    changed = {n for n, t in after.items() if n in before and not torch.equal(t, before[n])}
    assert {name.split(".")[1] for name in changed} == {"decoder", "tail"}


def test_halves_run(images: Path, tmp_path: Path) -> None:
    from pysplitcodec.train.run import load_data

    wanted = recipe(images, "rate")
    first = train(wanted, tmp_path / "run")
    assert not (tmp_path / "run" / "head.pt2").exists()
    run = train(wanted, tmp_path / "run", halves=True)
    assert run["retrained"] == first["retrained"]
    data = load_data(wanted.data)
    head, tail = (open_model(tmp_path / "run" / f"{half}.pt2") for half in ("head", "tail"))
    codec = sc.Codec.load(tmp_path / "run" / "codec.json")
    right = sent = 0
    for image, target in zip(data.test.images, data.test.targets):
        (feature,) = head(data.normalized(image[None]).numpy())
        frame = codec.encode(feature[0])
        sent += len(frame) - 10
        (answer,) = tail(codec.decode(frame)[None])
        right += int(answer[0].argmax() == int(target))
    assert right / len(data.test) == pytest.approx(run["retrained"]["top1"], abs=1 / 60)
    assert sent / len(data.test) == pytest.approx(run["bytes"]["context"], abs=0.2)


def test_loss_that_is_no_number(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pysplitcodec.train.tcl import Clustering

    monkeypatch.setattr(stage, "_SAVE_EVERY_S", -1.0)
    plain = Clustering.forward

    def forward(self: Any, feature: Any, sent: Any, centroids: Any, progress: float) -> Any:
        found = plain(self, feature, sent, centroids, progress)
        return found * (math.nan if progress > 0.5 else 1)

    monkeypatch.setattr(Clustering, "forward", forward)
    with pytest.raises(
        TrainingError, match=r"loss is nan in stage 'device', epoch 2, step 17 of 30"
    ) as error:
        train(recipe(images), tmp_path / "run")
    (part,) = (tmp_path / "stages").glob("device-*.part")
    assert str(part) in str(error.value)
    assert all(torch.isfinite(tensor).all() for tensor in _tensors(part).values())
    monkeypatch.setattr(Clustering, "forward", plain)
    assert train(recipe(images), tmp_path / "run")["retrained"]


def test_checkpoints_of_something_else(images: Path, tmp_path: Path) -> None:
    train(recipe(images), tmp_path / "a" / "run")
    schedule = {**table(images)["schedule"], "seed": 7}
    train(recipe(images, schedule=schedule), tmp_path / "b" / "run")
    (ours,) = (tmp_path / "a" / "stages").glob("float-*.safetensors")
    (theirs,) = (tmp_path / "b" / "stages").glob("float-*.safetensors")
    whole = ours.read_bytes()
    for content, message in (
        (theirs.read_bytes(), "another model, data, seed or schedule"),
        (whole[:1000], "no checkpoint"),
        (b"", "no checkpoint"),
        (whole.replace(b'"format":"1"', b'"format":"0"'), "format '0': this version reads 1"),
    ):
        ours.write_bytes(content)
        (tmp_path / "a" / "run" / "run.json").unlink(missing_ok=True)
        with pytest.raises(CheckpointError, match=message):
            train(recipe(images), tmp_path / "a" / "run")
    ours.write_bytes(whole)
    assert train(recipe(images), tmp_path / "a" / "run")["retrained"]


def test_run_of_another_recipe(images: Path, tmp_path: Path) -> None:
    train(recipe(images), tmp_path / "run")
    with pytest.raises(ArgumentError, match="another recipe"):
        train(recipe(images, "kmeans"), tmp_path / "run")


def test_runs_that_another_process_is_at(images: Path, tmp_path: Path) -> None:
    import fcntl

    parts = table(images, "kmeans", 1)
    parts["schedule"]["epochs"] = dict.fromkeys(parts["schedule"]["epochs"], 0)
    file = tmp_path / "recipe.toml"
    file.write_text(_toml(parts))
    (name,) = [one.name for one in read_recipes(file)]
    (tmp_path / name).mkdir()
    with (tmp_path / name / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert train_all(file, tmp_path) == {}
    assert list(train_all(file, tmp_path, halves=False)) == [name]


def _toml(parts: dict[str, Any]) -> str:
    def value(one: Any) -> str:
        if isinstance(one, dict):
            return "{" + ", ".join(f"{k} = {value(v)}" for k, v in one.items()) + "}"
        return json.dumps(one)

    return "".join(f"{name} = {value(part)}\n" for name, part in parts.items())


def test_weights(tmp_path: Path, data_dir: Path) -> None:
    from safetensors.torch import save_file

    model = build_model("resnet20", 10, {})
    file = tmp_path / "weights.safetensors"
    save_file(model.state_dict(), file)
    other = build_model("resnet20", 10, {})
    put_weights(other, file)
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])
    with pytest.raises(ModelError, match="does not fit"):
        put_weights(build_model("resnet32", 10, {}), file)
    file.write_bytes(b"\0" * 100)
    with pytest.raises(ModelError, match="does not fit"):
        put_weights(other, file)
    stored = data_dir / "resnet-cifar10-pytorch" / "resnet32-d509ac18.th"
    if not stored.exists():
        pytest.skip(f"{stored} is missing")
    assert len(put_weights(build_model("resnet32", 10, {}), stored)) == 64


def test_models_by_name() -> None:
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("needs torchvision")
    x = torch.zeros(1, 3, 64, 64)
    model = build_model("torchvision:resnet18", 20, {}).eval()
    assert model(x).shape == (1, 20)
    with pytest.raises(ArgumentError, match="cannot be made"):
        build_model("torchvision:resnet18", 20, {"nothing": 1})
    with pytest.raises(ArgumentError, match="no such function"):
        build_model("torchvision:resnet1", 20, {})


def test_models_of_timm() -> None:
    for package in ("torchvision", "timm"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    model = build_model("timm:mobilenetv3_small_100", 20, {}).eval()
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 20)
    with pytest.raises(ArgumentError, match="cannot be made"):
        build_model("timm:nothing", 20, {})


def test_float_numbers_are_those_of_the_halves(images: Path, tmp_path: Path) -> None:
    """With more levels than the network can tell apart, nothing is lost."""
    run = train(recipe(images, "kmeans", 8), tmp_path / "run")
    assert np.isclose(run["quantized"]["top1"], run["float"]["top1"], atol=0.02)
