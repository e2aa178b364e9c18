"""What a method costs in a training step, against the same step without it.

    python bench/train_step.py [--split layer1] [--bits 1 2 3] [--rounds 40] [--json]

A ResNet-20 with TCL's autoencoder, batches of 128 random images of 32x32, one thread.  Steps with
and without the method take turns in one process; given is the median ratio of neighbouring steps.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import torch

from pysplitcodec.splitting import split
from pysplitcodec.train.autoencoder import SplitModel, autoencoder
from pysplitcodec.train.data import Data, Samples
from pysplitcodec.train.measure import as_array
from pysplitcodec.train.method import Method
from pysplitcodec.train.models import CifarResNet
from pysplitcodec.train.parts import METHODS
from pysplitcodec.train.quantizer import Quantizer
from pysplitcodec.train.stage import DeviceStage
from pysplitcodec.train.task import Classification

BATCH = 128
SETTINGS: dict[str, dict[str, Any]] = {
    "bnn+": {},
    "tcl": {},
    "qat": {},
    "rate": {},
    "rate, prior = context": {"prior": "context"},
}


class Steps:
    """Training steps with a method or, with an empty `Method`, without one."""

    def __init__(self, model: SplitModel, method: Method, data: Data) -> None:
        self.stage, self.data = DeviceStage("device", model, method), data
        parameters = [*model.parameters(), *method.parameters()]
        self.optimizer = torch.optim.SGD(parameters, 1e-3, momentum=0.9, nesterov=True)
        self.images = data.normalized(data.train.images)

    def time(self, bfloat16: bool) -> float:
        """Seconds of one step."""
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss, _ = self.stage.loss(self.data, self.images, self.data.train.targets, 0.5)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return time.perf_counter() - began


def model_at(at: str) -> SplitModel:
    """A ResNet-20, cut, with an autoencoder."""
    example = torch.zeros(2, 3, 32, 32)
    halves = split(CifarResNet(), at, example=example)
    encoder, decoder = autoencoder(halves.cut.shape[1:])
    return SplitModel(halves.head, encoder, decoder, halves.tail).train()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", default="layer1")
    parser.add_argument("--bits", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images = torch.randint(0, 256, (BATCH, 3, 32, 32), dtype=torch.uint8)
    samples = Samples(images, torch.randint(0, 10, (BATCH,)))
    data = Data("random", Classification(), tuple("0123456789"), samples, samples)
    model = model_at(arguments.split)
    with torch.no_grad():
        features = as_array(model.feature(data.normalized(images)))
    plain = Steps(model, Method(Quantizer()), data)
    rows = []
    for name, settings in SETTINGS.items():
        for bits in arguments.bits:
            method = METHODS[name.partition(",")[0]](bits, **settings)
            method.begin(features)
            other = Steps(model, method, data)
            pairs = [
                (plain.time(arguments.bfloat16), other.time(arguments.bfloat16))
                for _ in range(arguments.rounds)
            ]
            ratio = statistics.median(there / here for here, there in pairs[3:])
            rows.append({"method": name, "bits": bits, "ratio": round(ratio, 3)})
            if not arguments.json:
                print(f"{name:24} {bits} bits {ratio:.3f} of the step without it", flush=True)
    if arguments.json:
        print(json.dumps({"batch": BATCH, "split": arguments.split, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
