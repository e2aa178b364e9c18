"""One run of a recipe, from a model to what its split costs and keeps."""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import pysplitcodec
from pysplitcodec.errors import ArgumentError
from pysplitcodec.splitting import read_graph
from pysplitcodec.splitting.layers import read_layers
from pysplitcodec.train import Progress
from pysplitcodec.train.autoencoder import SplitModel, folded
from pysplitcodec.train.checkpoint import key_of
from pysplitcodec.train.data import Data, image_folders
from pysplitcodec.train.measure import as_array, features_of, metrics, model_metrics
from pysplitcodec.train.method import Method
from pysplitcodec.train.models import build_model, put_weights
from pysplitcodec.train.parts import (
    UNSPLIT,
    build_bottleneck,
    build_method,
    check_parts,
    measure_unsplit,
)
from pysplitcodec.train.quantizer import Quantizer
from pysplitcodec.train.recipe import DataPart, Recipe, resolve
from pysplitcodec.train.shapes import shapes
from pysplitcodec.train.stage import (
    BottleneckStage,
    DeviceStage,
    Fit,
    ServerStage,
    Stage,
    WholeStage,
    run_stage,
)

FORMAT = 1


class Run:
    """A recipe that is carried out in `folder`; its stages are kept, and found again, in `stages`.

    Stages that depend on the same parts, schedule and data are the same: runs share them by
    sharing the folder, also at the same time.
    """

    def __init__(
        self, recipe: Recipe, folder: Path, stages: Path, progress: Progress | None
    ) -> None:
        self.recipe, self.folder, self.stages, self.progress = recipe, folder, stages, progress
        self.device = _device(recipe.schedule.device)
        self.bfloat16 = _computes_bfloat16(recipe.schedule.precision, self.device)
        self.splits = recipe.method.name not in UNSPLIT
        check_parts(recipe)  # before what is slow
        if self.splits:
            self.method = build_method(recipe.method)
        self.data = load_data(recipe.data)
        self.depends: dict[str, Any] = {
            "data": _digest(self.data),
            "mirror": recipe.data.mirror,
            "batch": recipe.schedule.batch,
            "weight_decay": recipe.schedule.weight_decay,
            "bfloat16": self.bfloat16,
        }
        self.step_s: dict[str, float | None] = {}

    def carry_out(self) -> dict[str, Any]:
        """Train, measure, and write run.json; gives what is in it."""
        began = time.monotonic()
        with torch.random.fork_rng():
            model, whole = self._whole()
            measured = self._train_split(model) if self.splits else self._measure_unsplit(model)
        found = {
            **self._about(),
            **measured,
            "whole": whole,
            "recipe": self.recipe.to_dict(),
            "step_s": self.step_s,
            "hours": round((time.monotonic() - began) / 3600, 4),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "run.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        return found

    def _measure_unsplit(self, model: nn.Module) -> dict[str, Any]:
        found = measure_unsplit(self.recipe.method, model, self.data, self.device)
        nothing = {"macs": 0, "parameters": 0}
        on_device = self.recipe.method.name == "on-device"
        return {**found, "head": self._cost(model) if on_device else nothing}

    def _train_split(self, model: nn.Module) -> dict[str, Any]:
        """The stages after the first, and what they come to."""
        recipe, method = self.recipe, self.method
        split = self._split(model)
        if any(True for _ in split.encoder.parameters()):
            self._stage(BottleneckStage(split))
        self._stage(DeviceStage("float", split, Method(Quantizer())))
        samples = self.data.train.first(recipe.data.calibration_samples)
        method.begin(as_array(self._features(split, samples)))
        method.to(self.device)
        self.depends["method"] = method.depends()
        self._stage(DeviceStage("device", split, method))
        calibration = as_array(self._features(split, samples))
        wire = method.wire(calibration)
        tested = self._features(split, self.data.test)
        restored = wire.restore(tested)
        unquantized, quantized = (self._answers(split, sent) for sent in (tested, restored))
        self.depends["wire"] = wire.describe()
        server = self._stage(
            ServerStage(split, wire), lambda: {"retrained": self._answers(split, restored)}
        )
        payload = wire.payload_bytes(calibration, as_array(tested))
        self.split, self.wire, self.calibration = split, wire, calibration
        return {
            "split": self.cut.name,
            "bottleneck": recipe.bottleneck.name,
            "cut_shape": list(self.cut.shape[1:]),
            "feature_shape": list(tested.shape[1:]),
            "bits": wire.bits,
            "head": self._cost(nn.Sequential(split.head, folded(split.encoder))),
            "float": unquantized,
            "quantized": quantized,
            "retrained": server["retrained"],
            "bytes": {name: round(value, 3) for name, value in payload.items()},
        }

    def write_halves(self) -> None:
        """Write head.pt2, tail.pt2 and codec.json, as `splitcodec run` and `serve` take them.

        What is not split has none, and JPEG no codec.json.
        """
        if not self.splits:
            return
        from pysplitcodec.runtime_torch import as_arguments
        from pysplitcodec.splitting.torch_file import save

        images = self.data.normalized(self.data.test.images[:2])
        split = self.split.cpu().eval()
        head = nn.Sequential(split.head, folded(split.encoder)).eval()
        with torch.no_grad():
            feature = head(images)
        for name, half, example in (("head", head, images), ("tail", split.server.eval(), feature)):
            (self.folder / f"{name}.pt2").write_bytes(save(half, as_arguments(example)))
        self.wire.save(self.folder, self.calibration)

    def _whole(self) -> tuple[nn.Module, dict[str, float]]:
        """The model before it is split, trained if the schedule says so, always with seed 0."""
        part = self.recipe.model
        torch.manual_seed(0)
        model = build_model(part.name, len(self.data.classes), dict(part.options))
        weights = None if part.weights is None else put_weights(model, resolve(part.weights))
        model.to(self.device).eval()
        self.depends["model"] = {"name": part.name, "options": part.options, "weights": weights}

        def measure() -> dict[str, Any]:
            return {"whole": model_metrics(model, self.data, self.device)}

        about = self._stage(WholeStage(model), measure, seed=0)
        return model, about["whole"]

    def _split(self, model: nn.Module) -> Any:
        """The model cut, with a bottleneck that starts by the seed."""
        example = self.data.normalized(self.data.test.images[:2].to(self.device))
        assert self.recipe.split is not None
        halves = read_graph(model, example).split(self.recipe.split)
        self.cut = halves.cut
        self.depends.update(
            split=self.cut.name,
            between=asdict(self.recipe.bottleneck),
            seed=self.recipe.schedule.seed,
        )
        torch.manual_seed(self.recipe.schedule.seed)
        encoder, decoder = build_bottleneck(self.recipe.bottleneck, self.cut.shape[1:])
        model = SplitModel(halves.head, encoder, decoder, halves.tail)
        model.to(self.device)
        return model

    def _stage(
        self,
        stage: Stage,
        measure: Callable[[], dict[str, Any]] = dict,
        seed: int | None = None,
    ) -> dict[str, Any]:
        schedule = self.recipe.schedule
        fit = Fit(
            epochs=schedule.epochs[stage.name],
            learning_rate=schedule.learning_rate[stage.name],
            weight_decay=schedule.weight_decay,
            batch=schedule.batch,
            seed=schedule.seed if seed is None else seed,
            bfloat16=self.bfloat16,
            device=self.device,
        )
        self.depends[stage.name] = [fit.epochs, fit.learning_rate]
        key = key_of(self.depends)
        path = self.stages / f"{stage.name}-{key[:16]}.safetensors"
        with _locked(path.with_suffix(".lock")):
            about = run_stage(stage, self.data, fit, path, key, measure, self.progress)
        self.step_s[stage.name] = about["step_s"]
        return about

    def _features(self, split: SplitModel, samples: Any) -> Tensor:
        return features_of(self.data, split.device, samples, self.device)

    def _answers(self, split: SplitModel, features: Tensor) -> dict[str, float]:
        return metrics(self.data, self.data.test, split.answer, features, self.device)

    def _cost(self, module: nn.Module) -> dict[str, Any]:
        """Of what runs on the device."""
        example = self.data.normalized(self.data.test.images[:1].to(self.device))
        layers = read_layers(read_graph(module.eval(), example), [])
        everything = range(len(layers.operators))
        return {"macs": layers.macs(everything), "parameters": layers.params(everything)}

    def _about(self) -> dict[str, Any]:
        recipe = self.recipe
        return {
            "format": FORMAT,
            "method": recipe.method.name,
            "settings": {**recipe.method.settings, **recipe.bottleneck.settings},
            "model": recipe.model.name,
            "data": {
                "name": self.data.name,
                "train": len(self.data.train),
                "test": len(self.data.test),
                "sha256": self.depends["data"],
            },
            "split": None,
            "bottleneck": None,
            "cut_shape": None,
            "feature_shape": None,
            "bits": None,
            "seed": recipe.schedule.seed,
            "epochs": dict(recipe.schedule.epochs),
            "learning_rate": dict(recipe.schedule.learning_rate),
            "metrics": list(self.data.task.metrics),
            "float": None,
            "retrained": None,
            "input_bytes": None,
            "batch": recipe.schedule.batch,
            "bfloat16": self.bfloat16,
            "device": self.device,
            "threads": torch.get_num_threads(),
            "command": " ".join(["splitcodec", *sys.argv[1:]]),
            "commit": _commit(),
            "version": pysplitcodec.__version__,
            "torch": torch.__version__,
            "date": datetime.date.today().isoformat(),
        }


@lru_cache(maxsize=1)
def _loaded(key: str) -> Data:
    part = DataPart(**json.loads(key))
    if part.train is None and part.test is None and part.name == "shapes":
        counts = {"train_samples": part.train_samples, "test_samples": part.test_samples}
        chosen = {"side": part.side, **counts}
        given = {name: value for name, value in chosen.items() if value is not None}
        return shapes(part.task, **given)
    if part.train is None or part.test is None:
        raise ArgumentError(
            f"data {part.name!r} has no train or no test: expected both, or the name 'shapes'"
        )
    if part.task != "classification":
        raise ArgumentError(
            f"data.task is {part.task!r}: images in folders are for 'classification'"
        )
    return image_folders(
        resolve(part.train),
        resolve(part.test),
        name=part.name,
        side=part.side,
        train_samples=part.train_samples,
        test_samples=part.test_samples,
        mirror=part.mirror,
    )


def load_data(part: DataPart) -> Data:
    """The samples of a recipe; those of the last call are kept."""
    return _loaded(json.dumps(asdict(part), sort_keys=True))


def _digest(data: Data) -> str:
    digest = hashlib.sha256()
    for samples in (data.train, data.test):
        for tensor in (samples.images, samples.targets):
            digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()


def _device(wanted: str) -> str:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ArgumentError("schedule.device is 'cuda': torch finds none")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def _computes_bfloat16(precision: str, device: str) -> bool:
    if precision != "auto":
        return precision == "bfloat16"
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    # torch says so under names that may go with a version
    known = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in known)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait until no other process works on a stage."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _commit() -> str | None:
    """Of the repository that this code lies in, if any."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
