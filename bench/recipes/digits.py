"""Train the small digit classifier that `splitcodec demo` runs, and write its files.

The data are scikit-learn's `load_digits`: 1,797 images of 8x8 pixels with values 0 to 16, split by
class into 1,257 for training and 540 for testing.  The head is two cheap blocks and a bottleneck of
4 channels, whose 64 values are what an edge device sends; the tail does most of the work.

    pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
    pip install torch==2.13.0 litert-torch==0.10.0 ai-edge-litert==2.3.0 scikit-learn==1.9.1 tqdm .
    python bench/recipes/digits.py

(The second command runs in the root of the repository; naming torch again keeps pip from replacing
it.  litert-torch brings about 1.5 GB of its own, so an environment for this alone is best.)

Writes digits.tflite, digits_test.npz and digits.json, in 15 seconds.  A second run on the same
machine with the same versions writes the same bytes, on one core or on two.  Another kind of CPU
rounds differently in training and ends in other weights of about the same accuracy; the images in
digits_test.npz stay the same.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.schema_py_generated import BuiltinOperator
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from tqdm import tqdm

from pysplitcodec.splitting import split
from pysplitcodec.splitting.tflite_file import AlignedBuffer, read_model, write_model

DATA = Path(__file__).resolve().parents[2] / "pysplitcodec" / "data"

TEST_IMAGES = 540
SPLIT_SEED = 0  # which images are tested does not depend on --seed
CALIBRATION_IMAGES = 256  # training images shipped so that codebooks need not be fitted on tests
PIXEL_MAX = 16  # the model expects pixels / 16

BATCH = 64
LEARNING_RATE = 1e-2
WEIGHT_DECAY = 1e-2
LABEL_SMOOTHING = 0.05
NOISE = 0.3  # at the bottleneck, in its standard deviations: the tail learns to bear coarse values

BOTTLENECK = "bottleneck"
# Operators of the exported model in order, each with the name its output gets.
OPERATORS = (
    ("block1", "DEPTHWISE_CONV_2D"),  # a convolution of one channel is exported as depthwise
    ("block2/depthwise", "DEPTHWISE_CONV_2D"),
    ("block2/pointwise", "CONV_2D"),
    ("block2", "ADD"),
    ("pool", "MAX_POOL_2D"),
    (BOTTLENECK, "CONV_2D"),
    ("expand", "CONV_2D"),
    ("block3/conv", "CONV_2D"),
    ("block3", "ADD"),
    ("mean", "MEAN"),
    ("logits", "FULLY_CONNECTED"),
)


class Split(NamedTuple):
    """Images, uint8 [n, 8, 8] with values 0 to 16, and their labels, uint8 [n]."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]

    def inputs(self) -> Tensor:
        """What the model expects: float32 [n, 1, 8, 8] with values 0 to 1."""
        return torch.from_numpy(self.images.astype(np.float32) / PIXEL_MAX).unsqueeze(1)

    def targets(self) -> Tensor:
        return torch.from_numpy(self.labels.astype(np.int64))


def load_splits() -> tuple[Split, Split]:
    """The training and the test images, each in an order that never changes."""
    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=TEST_IMAGES, stratify=labels, random_state=SPLIT_SEED
    )
    return Split(images[train], labels[train]), Split(images[test], labels[test])


class ConvNorm(nn.Module):
    """A convolution that keeps height and width, and the batch norm that `folded` removes."""

    def __init__(self, channels_in: int, channels: int, kernel: int = 3, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels_in, channels, kernel, padding=kernel // 2, groups=groups, bias=False
        )
        self.norm: nn.Module = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class DigitNet(nn.Module):
    """Head: 44,000 multiplications an image.  Tail: 166,000, most of them in conv3."""

    def __init__(self) -> None:
        super().__init__()
        self.block1 = ConvNorm(1, 16)
        self.depthwise2 = ConvNorm(16, 16, groups=16)
        self.pointwise2 = ConvNorm(16, 16, kernel=1)
        self.bottleneck = ConvNorm(16, 4)
        self.expand = ConvNorm(4, 32)
        self.conv3 = ConvNorm(32, 32)
        self.classify = nn.Linear(32, 10)

    def head(self, x: Tensor) -> Tensor:
        """[n, 1, 8, 8] -> the feature that is sent, [n, 4, 4, 4]."""
        x = functional.relu(self.block1(x))
        x = functional.relu(x + self.pointwise2(self.depthwise2(x)))
        x = functional.max_pool2d(x, 2)
        return functional.relu(self.bottleneck(x))

    def tail(self, feature: Tensor) -> Tensor:
        """[n, 4, 4, 4] -> logits [n, 10]."""
        x = functional.relu(self.expand(feature))
        x = functional.relu(x + self.conv3(x))
        return self.classify(x.mean((2, 3), keepdim=True).flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        feature = self.head(x)
        if self.training:
            noise = 2 * torch.rand_like(feature) - 1
            feature = feature + NOISE * feature.detach().std() * noise
        return self.tail(feature)


def distorted(images: Tensor) -> Tensor:
    """Each image turned by up to 10 degrees, scaled by up to 10 % and moved by up to 0.7 pixels."""
    n = len(images)
    angle = torch.deg2rad(10 * (2 * torch.rand(n) - 1))
    scale = 1 + 0.1 * (2 * torch.rand(n) - 1)
    shift = 0.7 / 4 * (2 * torch.rand(n, 2) - 1)  # in half widths of the image
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], 1).view(n, 2, 3)
    grid = functional.affine_grid(rows, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def batches(n: int) -> Iterator[Tensor]:
    """Indices of a shuffled epoch in whole batches."""
    order = torch.randperm(n)
    for start in range(0, n - BATCH + 1, BATCH):
        yield order[start : start + BATCH]


def train(split: Split, epochs: int, seed: int) -> DigitNet:
    """A trained model, the same for the same arguments, machine and versions."""
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # sums in one order, however many cores there are
    inputs, targets = split.inputs(), split.targets()
    model = DigitNet()
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=epochs * (len(inputs) // BATCH)
    )
    model.train()
    progress = tqdm(range(epochs), desc="train", unit="epoch")
    for _ in progress:
        for batch in batches(len(inputs)):
            logits = model(distorted(inputs[batch]))
            loss = functional.cross_entropy(logits, targets[batch], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        progress.set_postfix(loss=f"{loss.item():.3f}")
    return model


def folded(model: DigitNet) -> DigitNet:
    """A copy for inference whose batch norms are part of the convolutions."""
    model = copy.deepcopy(model).eval()
    for module in model.modules():
        if isinstance(module, ConvNorm):
            module.conv = fuse_conv_bn_eval(module.conv, module.norm)
            module.norm = nn.Identity()
    return model.requires_grad_(False)


def accuracy(logits: npt.NDArray[np.float32], split: Split) -> float:
    return float((logits.argmax(1) == split.labels).mean())


def export(model: DigitNet) -> bytes:
    """The model as a TFLite file with input [1, 8, 8, 1] and readable tensor names."""
    import litert_torch  # takes seconds and warns a lot: not before it is needed

    channel_last = litert_torch.to_channel_last_io(model, args=[0]).eval()
    exported = litert_torch.convert(channel_last, (torch.zeros(1, 8, 8, 1),))
    return renamed(exported.model_content())


def renamed(model: bytes) -> bytes:
    """Give tensors and the signature short names, by the operators' order in `OPERATORS`."""
    tree = read_model(model)
    graph = tree.subgraphs[0]
    found = [operator_name(tree, operator) for operator in graph.operators]
    expected = [kind for _, kind in OPERATORS]
    if found != expected:
        raise RuntimeError(f"the exporter wrote other operators than expected: {found}")

    graph.tensors[graph.inputs[0]].name = b"image"
    for (name, kind), operator in zip(OPERATORS, graph.operators):
        graph.tensors[operator.outputs[0]].name = name.encode()
        roles = ("axes",) if kind == "MEAN" else ("weights", "bias")
        if kind not in ("ADD", "MAX_POOL_2D"):
            for role, tensor in zip(roles, operator.inputs[1:]):
                graph.tensors[tensor].name = f"{name}/{role}".encode()
    names = [tensor.name for tensor in graph.tensors]
    if len(set(names)) != len(names) or any(b"litert_torch" in name for name in names):
        raise RuntimeError(f"the exporter wrote tensors that get no name of their own: {names}")

    (signature,) = tree.signatureDefs
    signature.inputs[0].name = b"image"
    signature.outputs[0].name = b"logits"
    tree.buffers = [AlignedBuffer(buffer.data) for buffer in tree.buffers]
    return write_model(tree)


def operator_name(tree: Any, operator: Any) -> str:
    code = tree.operatorCodes[operator.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return next(name for name, value in vars(BuiltinOperator).items() if value == number)


def run_tflite(model: bytes, inputs: Tensor) -> npt.NDArray[np.float32]:
    """Logits of the TFLite model, all inputs in one batch."""
    interpreter = Interpreter(model_content=model)
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    batch = inputs.permute(0, 2, 3, 1).contiguous().numpy()
    interpreter.resize_tensor_input(source["index"], batch.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], batch)
    interpreter.invoke()
    return interpreter.get_tensor(result["index"])


def description(seed: int, epochs: int, accuracies: dict[str, float], deviation: float) -> Any:
    """What digits.json says."""
    packages = ("torch", "litert-torch", "ai-edge-litert", "scikit-learn", "numpy")
    return {
        "model": "digits.tflite: classifies 8x8 images of handwritten digits, float32",
        "input": {
            "tensor": "image",
            "shape": [1, 8, 8, 1],
            "scaling": "pixel / 16",
            "pixel_max": PIXEL_MAX,
            "note": "the batch can be resized in the interpreter",
        },
        "output": {"tensor": "logits", "shape": [1, 10], "meaning": "logits of the digits 0 to 9"},
        "recommended_split": {"tensor": BOTTLENECK, "shape": [1, 4, 4, 4]},
        "accuracy": accuracies,
        "max_abs_difference_to_torch": float(f"{deviation:.1e}"),
        "test_data": {
            "file": "digits_test.npz",
            "images": f"uint8 [{TEST_IMAGES}, 8, 8], 0 to {PIXEL_MAX}; not used in training",
            "labels": f"uint8 [{TEST_IMAGES}]",
            "calibration_images": (
                f"uint8 [{CALIBRATION_IMAGES}, 8, 8], from the training images, "
                "for fitting codebooks"
            ),
        },
        "training": {
            "recipe": "bench/recipes/digits.py",
            "seed": seed,
            "epochs": epochs,
            "versions": {
                "python": platform.python_version(),
                **{package: version(package) for package in packages},
            },
        },
        "dataset": {
            "name": "Optical Recognition of Handwritten Digits",
            "creators": "E. Alpaydin, C. Kaynak",
            "source": "UCI Machine Learning Repository, https://doi.org/10.24432/C50P49",
            "via": "sklearn.datasets.load_digits, a copy of its 1,797 test images",
            "licence": "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/",
            "changes": "a random selection, stored as uint8; the pixels are unchanged",
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Train and export the demo's digit classifier.")
    parser.add_argument("--out", type=Path, default=DATA, help="folder (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=60, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of training (default: %(default)s)")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")  # of the exporter

    train_split, test_split = load_splits()
    model = folded(train(train_split, arguments.epochs, arguments.seed))
    tflite = export(model)

    expected = model(test_split.inputs()).numpy()
    logits = run_tflite(tflite, test_split.inputs())
    deviation = float(np.abs(logits - expected).max())
    if not (logits.argmax(1) == expected.argmax(1)).all():
        raise RuntimeError("the TFLite model decides otherwise than the torch model")
    train_logits = run_tflite(tflite, train_split.inputs())
    accuracies = {
        "train": round(accuracy(train_logits, train_split), 4),
        "test": round(accuracy(logits, test_split), 4),
    }

    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "digits.tflite").write_bytes(tflite)
    # for devices whose runtime runs models but comes without what splitting needs
    head, tail = split(tflite, at=BOTTLENECK)
    (arguments.out / "digits_head.tflite").write_bytes(head)
    (arguments.out / "digits_tail.tflite").write_bytes(tail)
    np.savez_compressed(
        arguments.out / "digits_test.npz",
        images=test_split.images,
        labels=test_split.labels,
        calibration_images=train_split.images[:CALIBRATION_IMAGES],
    )
    text = json.dumps(
        description(arguments.seed, arguments.epochs, accuracies, deviation), indent=2
    )
    (arguments.out / "digits.json").write_text(text + "\n")

    print(f"accuracy: train {accuracies['train']:.2%}, test {accuracies['test']:.2%}")
    print(f"TFLite against torch on the test images: all decisions equal, max {deviation:.1e}")
    print(f"digits.tflite: {len(tflite):,} bytes, written with its data to {arguments.out}")


if __name__ == "__main__":
    main()
