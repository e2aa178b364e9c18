"""The main job in miniature: a trained network, split, coded, sent to another process, finished.

Everything it needs is in the package: a small CNN for handwritten digits and its held-out test
images (docs/demo-model.md).
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import numpy as np

from pysplitcodec.auto import fit_codec
from pysplitcodec.codebook import Codebook
from pysplitcodec.codec import Codec, coders
from pysplitcodec.errors import MissingDependencyError
from pysplitcodec.runtime import TFLiteModel
from pysplitcodec.serve import EdgeClient, HttpTransport
from pysplitcodec.serve.process import server_process
from pysplitcodec.splitting import split

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Digits", "Row", "draw", "load_digits", "run"]

BITS = (1, 2, 3, 4)


@dataclass(frozen=True)
class Digits:
    """The embedded model and its data.

    model: TFLite bytes.  images: float32 [n, 1, 8, 8, 1], as the model takes them; pixels: the same
    as uint8 [n, 8, 8], 0..255; labels: [n].  calibration: float32 [m, 1, 8, 8, 1], training images
    that codebooks are fitted on.  at: name of the recommended split point; head, tail: the model
    split there, for runtimes that come without what splitting needs (tflite-runtime).
    """

    model: bytes
    images: NDArray[np.float32]
    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    calibration: NDArray[np.float32]
    at: str
    head: bytes
    tail: bytes


@dataclass(frozen=True)
class Row:
    """One line of the demo's table; times in the units that the names say."""

    bits: int
    coder: str
    payload_bytes_mean: float
    frame_bytes_mean: float
    float32_bytes: int
    ratio_float32: float
    png_bytes_mean: float
    jpeg_bytes_mean: float
    ratio_png: float
    ratio_jpeg: float
    accuracy: float
    accuracy_whole: float
    head_us: float
    encode_us: float
    decode_us: float
    tail_us: float
    link_ms_p50: float
    roundtrip_ms_p50: float
    roundtrip_ms_p95: float


def load_digits() -> Digits:
    """Read the embedded model and its data."""
    data = resources.files("pysplitcodec") / "data"
    about = json.loads((data / "digits.json").read_text(encoding="utf-8"))
    with np.load(io.BytesIO((data / "digits_test.npz").read_bytes())) as arrays:
        levels, labels = arrays["images"], arrays["labels"]
        calibration = arrays["calibration_images"]
    highest = about["input"]["pixel_max"]

    def as_input(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        scaled: NDArray[np.float32] = images[:, None, :, :, None].astype(np.float32) / highest
        return scaled

    return Digits(
        model=(data / "digits.tflite").read_bytes(),
        images=as_input(levels),
        pixels=(levels.astype(np.uint16) * 255 // highest).astype(np.uint8),
        labels=labels,
        calibration=as_input(calibration),
        at=about["recommended_split"]["tensor"],
        head=(data / "digits_head.tflite").read_bytes(),
        tail=(data / "digits_tail.tflite").read_bytes(),
    )


def run(
    digits: Digits, at: str | int | None = None, progress: Callable[[str], None] | None = None
) -> list[Row]:
    """Split the model, start a tail server, and send the whole test set at each bit width.

    at: split point, by default the recommended one.  progress: called with a line per setting.
    Needs the extras "tflite" and "serve".
    """
    head_bytes, tail_bytes = _halves(digits, at)
    whole, head = TFLiteModel(digits.model), TFLiteModel(head_bytes)
    accuracy_whole = float(
        np.mean([whole(image)[0].argmax() for image in digits.images] == digits.labels)
    )
    features = np.concatenate([head(image)[0] for image in digits.calibration])
    codebooks = {bits: Codebook.fit(features, bits) for bits in BITS}
    codecs = [
        fit_codec(codebook, features, coder)
        for codebook in codebooks.values()
        for coder, present in coders().items()
        if present
    ]
    png, jpeg = image_bytes(digits.pixels)
    rows = []
    with tail_server(tail_bytes, codecs) as url:
        for codec in codecs:
            if progress:
                progress(f"{codec.bits} bits, {codec.coder}")
            with EdgeClient(head, codec, HttpTransport(url)) as edge:
                edge.run(digits.images[0])  # opens the connection
                replies = [edge.run(image) for image in digits.images]
            rows.append(_row(codec, replies, digits.labels, accuracy_whole, png, jpeg))
    return rows


def _halves(digits: Digits, at: str | int | None) -> tuple[bytes, bytes]:
    try:
        head, tail = split(digits.model, digits.at if at is None else at)
    except MissingDependencyError:
        if at is not None:
            raise
        return digits.head, digits.tail
    return head, tail


def _row(
    codec: Codec,
    replies: Sequence[Any],
    labels: NDArray[np.uint8],
    accuracy_whole: float,
    png_bytes: float,
    jpeg_bytes: float,
) -> Row:
    answers = [next(iter(reply.outputs.values())).argmax() for reply in replies]
    payload = float(np.mean([reply.payload_len for reply in replies]))
    float32 = 4 * int(np.prod(codec.shape))

    def median_us(seconds: list[float]) -> float:
        return round(float(np.median(seconds)) * 1e6, 2)

    roundtrips_ms = np.array([reply.roundtrip_s for reply in replies]) * 1e3
    served_ms = np.array([reply.decode_s + reply.tail_s for reply in replies]) * 1e3
    return Row(
        bits=codec.bits,
        coder=codec.coder,
        payload_bytes_mean=round(payload, 2),
        frame_bytes_mean=round(float(np.mean([reply.frame_len for reply in replies])), 2),
        float32_bytes=float32,
        ratio_float32=round(float32 / payload, 2),
        png_bytes_mean=round(png_bytes, 2),
        jpeg_bytes_mean=round(jpeg_bytes, 2),
        ratio_png=round(png_bytes / payload, 2),
        ratio_jpeg=round(jpeg_bytes / payload, 2),
        accuracy=round(float(np.mean(answers == labels)), 4),
        accuracy_whole=round(accuracy_whole, 4),
        head_us=median_us([reply.head_s for reply in replies]),
        encode_us=median_us([reply.encode_s for reply in replies]),
        decode_us=median_us([reply.decode_s for reply in replies]),
        tail_us=median_us([reply.tail_s for reply in replies]),
        link_ms_p50=round(float(np.median(roundtrips_ms - served_ms)), 3),
        roundtrip_ms_p50=round(float(np.median(roundtrips_ms)), 3),
        roundtrip_ms_p95=round(float(np.percentile(roundtrips_ms, 95)), 3),
    )


def image_bytes(pixels: NDArray[np.uint8]) -> tuple[float, float]:
    """Mean size of the images [n, height, width] as optimised PNG and as JPEG at quality 75."""
    try:
        from PIL import Image
    except ImportError:
        raise MissingDependencyError(
            "the demo needs Pillow: pip install 'pysplitcodec[cli]'"
        ) from None

    def size(image: Any, **how: Any) -> int:
        buffer = io.BytesIO()
        image.save(buffer, **how)
        return buffer.tell()

    images = [Image.fromarray(image) for image in pixels]
    png = np.mean([size(image, format="PNG", optimize=True) for image in images])
    jpeg = np.mean([size(image, format="JPEG", quality=75, optimize=True) for image in images])
    return float(png), float(jpeg)


@contextmanager
def tail_server(model: bytes, codecs: Sequence[Codec]) -> Iterator[str]:
    """Serve a tail from another process for as long as a `with` block lasts; gives its URL."""
    with tempfile.TemporaryDirectory(prefix="splitcodec-") as folder:
        tail = Path(folder) / "tail.tflite"
        tail.write_bytes(model)
        args: list[object] = [tail]
        for number, codec in enumerate(codecs):
            path = Path(folder) / f"codec{number}.json"
            codec.save(path)
            args += ["--codec", path]
        with server_process(*args, log=Path(folder) / "log") as served:
            yield served.url


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw accuracy against payload bytes into a picture file."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependencyError(
            "drawing needs matplotlib: pip install 'pysplitcodec[plot]'"
        ) from None
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    first = rows[0]
    for coder, marker in zip(dict.fromkeys(row.coder for row in rows), "os^vD"):
        chosen = [row for row in rows if row.coder == coder]
        axes.plot(
            [row.payload_bytes_mean for row in chosen],
            [100 * row.accuracy for row in chosen],
            marker=marker,
            fillstyle="none" if marker == "s" else "full",
            label=f"split, {coder}",
        )
    for row in rows:
        if row.coder == first.coder:
            axes.annotate(
                f"{row.bits} bit",
                (row.payload_bytes_mean, 100 * row.accuracy),
                textcoords="offset points",
                xytext=(4, 7),
            )
    axes.axhline(100 * first.accuracy_whole, color="grey", linestyle="--", linewidth=1)
    for size, name in (
        (first.png_bytes_mean, "input as PNG"),
        (first.jpeg_bytes_mean, "input as JPEG (size only)"),
        (first.float32_bytes, "feature as float32"),
    ):
        axes.plot([size], [100 * first.accuracy_whole], "x", label=name)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.set_ylim(top=100.5)
    axes.set_xlabel("bytes per image on the link (payload, mean)")
    axes.set_ylabel("test accuracy / %")
    axes.set_title(f"Split digits network; dashed: unsplit, {100 * first.accuracy_whole:.1f} %")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def as_json(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the demo's result as one JSON-ready object."""
    return {"model": "digits", "images": "held-out test split", "rows": [asdict(r) for r in rows]}
