"""What QPART claims, measured: docs/results/qpart.json, from which docs/results/qpart.md has it.

    SPLITCODEC_DATA=data python bench/qpart.py mlp -o docs/results/qpart.json
    SPLITCODEC_DATA=data python bench/qpart.py resnet20 -o docs/results/qpart.json
    SPLITCODEC_DATA=data python bench/qpart.py resnet18 --runs runs/tiny -o docs/results/qpart.json

mlp: six fully connected layers, trained here on MNIST.  resnet20: published weights, on CIFAR-10.
resnet18: stage "whole" of bench/recipes/tcl_tinyimagenet20.toml, out of a folder of runs.  Each
scheme at each split point, for each accuracy drop, is a row: what is sent, what it costs with the
parameters of QPART's Table II, and accuracies on calibration and on test samples.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from checkout import commit
from numpy.typing import NDArray
from torch import Tensor, nn

from pysplitcodec.plan import Weights, evaluate, get_device, get_link
from pysplitcodec.plan import baselines as others
from pysplitcodec.plan.baselines import Offload
from pysplitcodec.plan.bit_widths import added_noise, exact_widths, integer_widths
from pysplitcodec.plan.classifier import Classifier
from pysplitcodec.plan.qpart import find_patterns
from pysplitcodec.plan.qpart_noise import measure, measure_feature

DROPS = (0.0025, 0.005, 0.0075, 0.01, 0.02)
IMAGE_DROPS = (0.01, 0.02, 0.05)  # fewer samples tell no less apart
# Six layers, whose widths the paper's Figure 4 does not give.
WIDTHS = (784, 512, 256, 128, 64, 32, 10)

# QPART counts no coding; JALAD's takes what it does on the STM32F7, of as many hertz.
DEVICE = replace(
    get_device("qpart"), encode_ns_per_element=get_device("stm32f7").encode_ns_per_element
)
LINK = get_link("qpart")
# Table II, Eq. 7 and 8: a joule of the server's, at 3.75e-27 * (3 GHz)^3 W, costs one.
SERVER = replace(get_device("qpart-server"), price_per_s=3.75e-27 * 3e9**3)
OBJECTIVE = Weights(per_s=1.0, per_j=1.0, per_price=1.0)

Row = dict[str, Any]


class Subject(NamedTuple):
    """A model with samples, and where and at what it is measured.

    pixels: those of calibration and test, [n, h, w] or [n, h, w, 3].  drops: accuracy that may be
    lost.  splits: names of split points; None: one for each layer.
    """

    name: str
    classifier: Classifier
    test: Classifier
    pixels: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    inputs_of: Any
    about: Row
    drops: tuple[float, ...] = DROPS
    splits: tuple[str, ...] | None = None


def main() -> None:
    """Measure one subject, and put its rows in the place of those that were there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subject", choices=SUBJECTS)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--runs", type=Path, help="of tcl_tinyimagenet20.toml, for resnet18")
    parser.add_argument("--calibration", type=int, help="samples")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    subject = SUBJECTS[args.subject](args)
    about = {
        "subject": subject.name,
        "command": f"python bench/qpart.py {args.subject}"
        + (f" --calibration {args.calibration}" if args.calibration else ""),
        "commit": commit(),
        "calibration_samples": len(subject.classifier.inputs),
        "test_samples": len(subject.test.inputs),
        "calibration_accuracy": subject.classifier.accuracy,
        "test_accuracy": subject.test.accuracy,
        **subject.about,
        "closed_form": closed_form(subject),
    }
    rows = [{"subject": subject.name, **row} for row in measured(subject)]
    known = json.loads(args.out.read_text()) if args.out.exists() else {"subjects": [], "rows": []}
    for key, new in (("subjects", [about]), ("rows", rows)):
        known[key] = [one for one in known[key] if one["subject"] != subject.name] + new
    args.out.write_text(json.dumps(known, indent=1) + "\n")


def measured(subject: Subject) -> Iterator[Row]:
    """Every scheme."""
    classifier = subject.classifier
    parts = classifier.cut(subject.splits)
    by_name = {part.name: part for part in parts}
    for widths, scheme in (("rounded", "qpart"), ("exact", "exact"), ("uniform", "uniform")):
        told(scheme)
        for pattern in find_patterns(
            classifier, subject.drops, splits=subject.splits, widths=widths, progress=told
        ):
            part = by_name[pattern.split]
            bits = {"weight_bits": pattern.weight_bits}
            offload = others.run_pattern(classifier, part, pattern)
            yield row(subject, scheme, pattern.drop, offload, 1) | bits
            if scheme == "qpart":
                coded = len(part.packed(pattern.weight_bits, coder="range"))
                candidate = replace(offload.candidate, head_bytes=coded)
                offload = offload._replace(candidate=candidate)
                yield row(subject, "qpart+range", pattern.drop, offload, 1) | bits
    for drop in subject.drops:
        told(f"baselines at {drop}")
        for scheme in (others.pruning, others.autoencoder):
            for offload in scheme(classifier, parts, drop):
                yield row(subject, scheme.__name__, drop, offload, 1)
        for offload in others.jalad(classifier, parts, drop):
            yield row(subject, "jalad", drop, offload, None)
        sent = others.jpeg_input(classifier, subject.pixels[0], subject.inputs_of, drop)
        if sent is not None:
            yield row(subject, "jpeg", drop, sent, None)
    for offload in others.unoptimised(classifier, parts):
        yield row(subject, "unoptimised", 0.0, offload, 1)
        yield row(subject, "neurosurgeon", 0.0, offload, None)
    yield row(subject, "on-device", 0.0, others.on_device(classifier), 1)


def closed_form(subject: Subject) -> Row:
    """Bits of the rounded closed form over those of the exact optimum, for the same budgets."""
    told("closed form against exact optimum")
    classifier, drops = subject.classifier, subject.drops
    noises = measure(classifier, drops)
    ratios = []
    for part in classifier.cut(subject.splits):
        layers = [layer for layer in noises if layer.name in part.layer_names]
        layers.append(measure_feature(classifier, part, drops))
        sizes = np.array([layer.size for layer in layers])
        for drop in drops:
            shares = [layer.share(drop) for layer in layers]
            most, least = (added_noise(shares, np.full(len(sizes), b)) for b in (1, 8))
            for budget in np.geomspace(most, least, 20)[1:-1]:
                rounded, exact = (
                    sizes @ solve(sizes, shares, budget) for solve in (integer_widths, exact_widths)
                )
                ratios.append(float(rounded / exact))
    return {"problems": len(ratios), "mean": float(np.mean(ratios)), "worst": max(ratios)}


def row(
    subject: Subject, scheme: str, drop: float, offload: Offload, inferences: float | None
) -> Row:
    """What one offload costs; inferences: None where weights are on the device already."""
    candidate = offload.candidate
    cost = evaluate(candidate, DEVICE, LINK, server=SERVER, inferences=inferences)
    given = subject.pixels[1] if scheme == "jpeg" else subject.test.inputs
    test_drop = subject.test.drop(offload.answers(given))
    return {
        "scheme": scheme,
        "split": candidate.name,
        "drop": drop,
        "measured_drop": candidate.accuracy_drop,
        "test_drop": test_drop,
        "test_accuracy": subject.test.accuracy - test_drop,
        "head_bytes": candidate.head_bytes if inferences else 0,
        "payload_bytes": candidate.payload_bytes,
        "bits": candidate.bits,
        "coder": candidate.coder,
        "head_macs": candidate.head_macs,
        "tail_macs": candidate.tail_macs,
        **asdict(cost),
        "latency_s": cost.latency_s,
        "energy_j": cost.energy_j,
        "objective": OBJECTIVE.of(cost),
    }


def mlp(_args: argparse.Namespace) -> Subject:
    """Six fully connected layers on MNIST."""
    folder = data_folder() / "mnist"
    pixels, targets = (idx(folder, f"train-{kind}") for kind in ("images", "labels"))
    order = np.random.default_rng(0).permutation(len(pixels))  # the files are sorted by class
    pixels, targets = pixels[order], torch.from_numpy(targets[order].astype(np.int64))
    test_pixels = idx(folder, "t10k-images")
    test_targets = torch.from_numpy(idx(folder, "t10k-labels").astype(np.int64))
    layers: list[nn.Module] = []
    for wide, narrow in zip(WIDTHS, WIDTHS[1:]):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    inputs = flat(pixels)
    kept = 55_000  # the rest is for calibration
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for epoch in range(4):
        told(f"epoch {epoch + 1} of 4")
        for at in range(0, kept, 128):
            some = slice(at, min(at + 128, kept))
            loss = nn.functional.cross_entropy(model(inputs[some]), targets[some])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return Subject(
        "mlp",
        Classifier(model, inputs[kept:], targets[kept:]),
        Classifier(model, flat(test_pixels), test_targets),
        (pixels[kept:], test_pixels),
        flat,
        {"data": "MNIST", "model": f"fully connected, {WIDTHS}", "seed": 0, "epochs": 4},
    )


def resnet20(args: argparse.Namespace) -> Subject:
    """Published weights, which never saw JPEGs, on CIFAR-10 as JPEGs."""
    from pysplitcodec.train.data import image_folders
    from pysplitcodec.train.models import build_model, put_weights

    folder = data_folder() / "cifar10-jpeg"
    model = build_model("resnet20", 10, {})
    weights = data_folder() / "resnet-cifar10-pytorch" / "resnet20-12fca82f.th"
    digest = put_weights(model, weights)
    data = image_folders(
        folder / "train.tar.xz",
        folder / "test.tar.xz",
        name="CIFAR-10",
        train_samples=args.calibration or 1000,
        test_samples=1000,
    )
    about = {"data": "CIFAR-10 as JPEGs", "model": "resnet20", "weights_sha256": digest}
    return of_images("resnet20", model, data, about, "layer1.2", "layer2.2", "layer3.2")


def resnet18(args: argparse.Namespace) -> Subject:
    """Stage "whole" of a recipe, on 20 classes of TinyImageNet."""
    from safetensors.torch import load_file

    from pysplitcodec.train.data import image_folders
    from pysplitcodec.train.models import build_model

    if args.runs is None:
        raise SystemExit("resnet18 needs --runs, a folder of tcl_tinyimagenet20.toml's runs")
    checkpoint = sorted((args.runs / "stages").glob("whole-*.safetensors"))[0]
    held = load_file(checkpoint)
    model = build_model("torchvision:resnet18", 20, {})
    prefix = "model."
    model.load_state_dict(
        {name[len(prefix) :]: one for name, one in held.items() if name.startswith(prefix)}
    )
    folder = data_folder() / "tiny-imagenet-20"
    data = image_folders(
        folder / "train.tar.xz",
        folder / "val.tar.xz",
        name="TinyImageNet-20",
        train_samples=args.calibration or 500,
        test_samples=1000,
    )
    about = {"data": "TinyImageNet, 20 classes", "model": "torchvision:resnet18"}
    return of_images("resnet18", model, data, about, "layer1.1", "layer2.1", "layer3.1")


def of_images(name: str, model: nn.Module, data: Any, about: Row, *blocks: str) -> Subject:
    """A subject of `image_folders`; blocks: residual ones, behind whose last layer it is cut."""

    def inputs_of(pixels: NDArray[np.uint8]) -> Tensor:
        inputs: Tensor = data.normalized(torch.from_numpy(pixels).permute(0, 3, 1, 2))
        return inputs

    pixels = [
        samples.images.permute(0, 2, 3, 1).contiguous().numpy()
        for samples in (data.train, data.test)
    ]
    calibration, test = (
        Classifier(model, data.normalized(samples.images), samples.targets)
        for samples in (data.train, data.test)
    )
    splits = tuple(f"{block}.relu:2" for block in blocks)
    kept = (pixels[0], pixels[1])
    return Subject(name, calibration, test, kept, inputs_of, about, IMAGE_DROPS, splits)


SUBJECTS = {"mlp": mlp, "resnet20": resnet20, "resnet18": resnet18}


def flat(pixels: NDArray[np.uint8]) -> Tensor:
    """As the MLP takes images: [n, 784], 0 to 1."""
    return torch.from_numpy(pixels.reshape(len(pixels), -1).astype(np.float32) / 255)


def idx(folder: Path, name: str) -> NDArray[np.uint8]:
    """Read an array of one of MNIST's files."""
    (path,) = folder.glob(f"{name}*.gz")
    data = gzip.decompress(path.read_bytes())
    rank = data[3]
    shape = np.frombuffer(data, ">u4", rank, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def data_folder() -> Path:
    """Where the data are."""
    folder = os.environ.get("SPLITCODEC_DATA")
    if folder is None:
        raise SystemExit("SPLITCODEC_DATA is not set: expected a folder with the data")
    return Path(folder)


def told(message: str) -> None:
    """Say how far it is."""
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
