"""One stage of training: steps, checkpoints, and the same result after every interruption."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pysplitcodec.errors import TrainingError
from pysplitcodec.train import Progress, checkpoint
from pysplitcodec.train.autoencoder import SplitModel
from pysplitcodec.train.data import Data
from pysplitcodec.train.measure import metrics
from pysplitcodec.train.method import Method
from pysplitcodec.train.wire import Wire

_SAVE_EVERY_S = 60.0
_EARLY = 500  # test samples, after each epoch
_WARM_UP = 0.1  # share of the steps in which the learning rate rises
_EXTRA_RATE = 1e-3  # of a method's own parameters


@dataclass(frozen=True)
class Fit:
    """How a stage is trained.

    learning_rate: of the model by stochastic gradient descent with Nesterov's momentum 0.9, at its
    highest: it rises for a tenth of the steps, then falls along a cosine to 0.
    """

    epochs: int
    learning_rate: float
    weight_decay: float
    batch: int
    seed: int
    bfloat16: bool
    device: str


class Stage(ABC):
    """What is trained, and the loss; `extra` are parameters of a method, trained by Adam."""

    name: str

    def __init__(self, whole: nn.Module, trained: nn.Module, extra: nn.Module) -> None:
        self.whole, self.trained, self.extra = whole, trained, extra

    def loss(
        self, data: Data, images: Tensor, targets: Tensor, progress: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch of normalised images, and its terms: here the task's alone."""
        task = data.task.loss(self.answer(images), targets)
        return task, {"task": task}

    @abstractmethod
    def answer(self, images: Tensor) -> Any:
        """The outputs for normalised images, as the stage has it: quantised or not."""


class WholeStage(Stage):
    """The model as it is, before it is split."""

    name = "whole"

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, model, nn.Module())

    def answer(self, images: Tensor) -> Any:
        """The model's."""
        return self.whole(images)


class BottleneckStage(Stage):
    """Encoder and decoder, so that they restore what the head gives; head and tail stay.

    The loss is the mean squared error over the feature's variance in the batch.  It costs no pass
    through the tail, and spares the stages after it many that would.
    """

    name = "bottleneck"

    def __init__(self, model: SplitModel) -> None:
        super().__init__(model, nn.ModuleList([model.encoder, model.decoder]), nn.Module())
        self.model = model

    def loss(
        self, data: Data, images: Tensor, targets: Tensor, progress: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The restoration's alone."""
        with torch.no_grad():
            wanted = self.model.head(images).float()
        restored = self.model.decoder(self.model.encoder(wanted)).float()
        error = (restored - wanted).square().mean() / wanted.var().clamp(min=1e-12)
        return error, {"restoration": error}

    def answer(self, images: Tensor) -> Any:
        """Through the bottleneck."""
        return self.model.answer(self.model.feature(images))


class DeviceStage(Stage):
    """Both halves and the bottleneck, with a method between them."""

    def __init__(self, name: str, model: SplitModel, method: Method) -> None:
        super().__init__(model, model, method)
        self.name, self.model, self.method = name, model, method

    def loss(
        self, data: Data, images: Tensor, targets: Tensor, progress: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The task's and the method's."""
        feature = self.model.feature(images)
        with torch.autocast(images.device.type, enabled=False):
            sent, terms = self.method(feature, progress)
        task = data.task.loss(self.model.answer(sent), targets)
        return self.method.total(task, terms), {"task": task, **terms}

    def answer(self, images: Tensor) -> Any:
        """Through the method."""
        return self.model.answer(self.method(self.model.feature(images), 1.0)[0])


class ServerStage(Stage):
    """The server's part, on what the codec gives; the device's part stays, its statistics too."""

    name = "server"

    def __init__(self, model: SplitModel, wire: Wire) -> None:
        super().__init__(model, model.server, nn.Module())
        self.model, self.wire = model, wire

    def answer(self, images: Tensor) -> Any:
        """Through the codec."""
        with torch.no_grad():
            restored = self.wire.restore(self.model.feature(images))
        return self.model.answer(restored)


def run_stage(
    stage: Stage,
    data: Data,
    fit: Fit,
    path: Path,
    key: str,
    measure: Callable[[], dict[str, Any]],
    progress: Progress | None,
) -> dict[str, Any]:
    """Train, or read what was trained before; give what `measure` said of the result, and step_s.

    path: where the result is kept, named by `key`, all that it depends on.  Beside it, while
    training runs, lie the state to go on from (.part) and a line for each epoch (.jsonl).

    Each step's samples and random numbers depend on seed and step alone, so that training that was
    interrupted anywhere goes on to the same result.  step_s: median seconds of a step; of a run
    that was interrupted, since then.

    Raises TrainingError if the loss is no number: the last good state stays.
    """
    if path.exists():
        tensors, about = checkpoint.load(path, key)
        _put(stage, tensors, path)
        stage.whole.eval()
        return about
    loop = _Loop(stage, data, fit, path, key)
    loop.run(progress)
    about = {**measure(), "step_s": loop.step_s}
    checkpoint.save(path, _state(stage), key, about)
    loop.part.unlink(missing_ok=True)
    return about


class _Loop:
    def __init__(self, stage: Stage, data: Data, fit: Fit, path: Path, key: str) -> None:
        self.stage, self.data, self.fit, self.key = stage, data, fit, key
        self.part = path.with_suffix(".part")
        self.log = path.with_suffix(".jsonl")
        self.per_epoch = max(1, len(data.train) // fit.batch)
        self.steps = fit.epochs * self.per_epoch
        self.step_s: float | None = None
        self.order: Tensor | None = None  # of the epoch's samples
        self.parameters = [p for p in stage.trained.parameters() if p.requires_grad]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.SGD(
                self.parameters,
                fit.learning_rate,
                momentum=0.9,
                nesterov=True,
                weight_decay=fit.weight_decay,
            )
        ]
        if any(True for _ in stage.extra.parameters()):
            self.optimizers.append(torch.optim.Adam(stage.extra.parameters(), _EXTRA_RATE))

    def run(self, progress: Progress | None) -> None:
        start = self._resume()
        self._set_training()
        saved, times = time.monotonic(), []
        sums: dict[str, float] = {}
        for step in range(start, self.steps):
            began = time.perf_counter()
            terms = self._step(step)
            times.append(time.perf_counter() - began)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value
            at = step % self.per_epoch + 1
            if progress is not None:
                progress(self.stage.name, step + 1, self.steps, terms)
            if at == self.per_epoch:
                means = {name: value / min(at, step + 1 - start) for name, value in sums.items()}
                self._write(step // self.per_epoch, {**means, **self._early()})
                sums = {}
            if time.monotonic() - saved > _SAVE_EVERY_S:
                self._save(step + 1)
                saved = time.monotonic()
        self.step_s = statistics.median(times) if times else None
        self.stage.whole.eval()

    def _set_training(self) -> None:
        self.stage.whole.eval()
        self.stage.extra.train()
        self.stage.trained.train()

    def _early(self) -> dict[str, float]:
        """Metrics over the first test samples, to see how it goes."""
        self.stage.whole.eval()
        self.stage.extra.eval()
        few = self.data.test.first(_EARLY)
        found = metrics(self.data, few, self._answer_images, few.images, self.fit.device)
        self._set_training()
        return found

    def _answer_images(self, images: Tensor) -> Any:
        return self.stage.answer(self.data.normalized(images))

    def _step(self, step: int) -> dict[str, float]:
        fit, data = self.fit, self.data
        epoch, at = divmod(step, self.per_epoch)
        if at == 0 or self.order is None:
            self.order = torch.randperm(len(data.train), generator=self._generator("epoch", epoch))
        chosen = self.order[at * fit.batch : (at + 1) * fit.batch]
        generator = self._generator("step", step)
        torch.manual_seed(int(torch.randint(1 << 62, (1,), generator=generator)))  # for dropout
        images, targets = data.task.vary(
            data.train.images[chosen], data.train.targets[chosen], generator
        )
        images, targets = data.normalized(images.to(fit.device)), targets.to(fit.device)
        self._set_rate(step)
        with torch.autocast(torch.device(fit.device).type, torch.bfloat16, enabled=fit.bfloat16):
            loss, terms = self.stage.loss(data, images, targets, step / self.steps)
        values = {"loss": float(loss.detach()), **{k: float(v.detach()) for k, v in terms.items()}}
        for name, value in values.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"{name} is {value} in stage {self.stage.name!r}, epoch {epoch + 1}, step "
                    f"{step + 1} of {self.steps}: expected a finite number; a lower learning rate "
                    f"may help. {self._kept()}"
                )
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        return values

    def _set_rate(self, step: int) -> None:
        rise = _WARM_UP * self.steps
        if step < rise:
            share = (step + 1) / (rise + 1)
        else:
            share = 0.5 + 0.5 * math.cos(math.pi * (step - rise) / (self.steps - rise))
        for optimizer, rate in zip(self.optimizers, (self.fit.learning_rate, _EXTRA_RATE)):
            for group in optimizer.param_groups:
                group["lr"] = rate * share

    def _generator(self, what: str, number: int) -> torch.Generator:
        text = f"{self.fit.seed} {self.stage.name} {what} {number}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little")
        return torch.Generator().manual_seed(seed)

    def _write(self, epoch: int, means: Mapping[str, float]) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as file:
            file.write(json.dumps({"stage": self.stage.name, "epoch": epoch + 1, **means}) + "\n")

    def _save(self, step: int) -> None:
        if all(bool(torch.isfinite(p).all()) for p in self.parameters):
            optimizers = _optimizer_state(self.optimizers)
            checkpoint.save(
                self.part, {**_state(self.stage), **optimizers}, self.key, {"step": step}
            )

    def _resume(self) -> int:
        if not self.part.exists():
            self.log.unlink(missing_ok=True)
            return 0
        tensors, about = checkpoint.load(self.part, self.key)
        ours = {n: t for n, t in tensors.items() if not n.startswith("optimizer.")}
        _put(self.stage, ours, self.part)
        _put_optimizer_state(self.optimizers, tensors)
        return int(about["step"])

    def _kept(self) -> str:
        return f"The last good state is {self.part}" if self.part.exists() else "No state was kept"


def _state(stage: Stage) -> dict[str, Tensor]:
    found = {f"model.{name}": tensor for name, tensor in stage.whole.state_dict().items()}
    found.update({f"method.{name}": tensor for name, tensor in stage.extra.state_dict().items()})
    return found


def _put(stage: Stage, tensors: Mapping[str, Tensor], path: Path) -> None:
    for prefix, module in (("model.", stage.whole), ("method.", stage.extra)):
        own = {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}
        checkpoint.restore(module, own, path)


def _optimizer_state(optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    found = {}
    for i, optimizer in enumerate(optimizers):
        for number, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                if value is not None:
                    found[f"optimizer.{i}.{number}.{name}"] = torch.as_tensor(value)
    return found


def _put_optimizer_state(
    optimizers: list[torch.optim.Optimizer], tensors: Mapping[str, Tensor]
) -> None:
    for i, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            parts = name.split(".")
            if parts[0] == "optimizer" and int(parts[1]) == i:
                state.setdefault(int(parts[2]), {})[parts[3]] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
