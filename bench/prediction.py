"""What the planner says a split takes, against what it takes over a slow link on this machine.

    python bench/prediction.py [MODEL --inputs FOLDER] [--at 1 2 3] [--rates 250e3 1e6 5e6]

The model is the embedded digits network, or a TFLite file.  Its halves and the coder are timed
first, as by `splitcodec profile`.  For each rate an empty request, a frame of a feature whose
elements are all equal, is sent through `pysplitcodec.serve.relay` at the first split point: its
round trip, less the tail's own time and the frame's bytes, becomes the link's `latency_s` at all of
them, for HTTP, the answer's way back and the server are no part of the planner's model.  Then
`EdgeClient` runs every split point through the relay to a server in another process.

All of it is done --rounds times, in turns, and what is shown are medians.  Ends with status 1 if a
ratio is not within --margin.  Other work on the machine can double what a half takes from one
second to the next, and wakes the server and the relay late, by some milliseconds: run it again,
with more rounds, or at rates at which the link takes most of the time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from pysplitcodec import Codebook, Codec
from pysplitcodec.bench.device import measure_device
from pysplitcodec.cli.arrays import load_model_inputs
from pysplitcodec.demo import load_digits, tail_server
from pysplitcodec.plan import Candidate, DeviceProfile, Link, evaluate
from pysplitcodec.runtime import open_model
from pysplitcodec.serve import EdgeClient, HttpTransport, TailClient
from pysplitcodec.serve.relay import Relay
from pysplitcodec.splitting import Cut, read_graph

CODER, BITS = "lzma", 2
LATENCY_S = 0.01  # of the relay, each way
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Point:
    """A split point: its halves as files, the codec of its feature, and frames of inputs."""

    cut: Cut
    head: Path
    tail: Path
    codec: Codec
    frame_bytes: float

    def empty_frame(self) -> bytes:
        level = float(self.codec.codebook.centroids[0])
        return self.codec.encode(np.full(self.codec.shape, level, self.codec.dtype))


@dataclass(frozen=True)
class Row:
    """One split point at one rate; milliseconds."""

    at: int
    name: str
    bits_per_s: float
    payload_bytes: float
    head_ms: float
    coding_ms: float
    link_ms: float
    server_ms: float
    predicted_ms: float
    measured_ms: float
    ratio: float


def main() -> int:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", help="TFLite")
    parser.add_argument("--inputs", type=Path, help="images, or .npy")
    parser.add_argument("--at", type=int, nargs="+", default=[1, 2, 3], help="split points")
    parser.add_argument("--rates", type=float, nargs="+", default=[250e3, 1e6, 5e6], help="bit/s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=9, help="in a round, of each point and rate")
    parser.add_argument("--seconds", type=float, default=0.3, help="for each half and coder")
    parser.add_argument("--margin", type=float, default=0.15)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if (given.model is None) != (given.inputs is None):
        parser.error("expected a model and its inputs, or neither")
    with tempfile.TemporaryDirectory() as folder:
        if given.model is None:
            digits = load_digits()
            model, inputs = Path(folder) / "digits.tflite", list(digits.images[:40])
            model.write_bytes(digits.model)
        else:
            # the ResNet-8 of MLPerf Tiny takes pixels as they are
            found = load_model_inputs(given.model, [given.inputs], (0, 255), 40)
            model, inputs = given.model, [array for (array,) in found]
        rows = compare(
            model,
            inputs,
            given.at,
            given.rates,
            rounds=given.rounds,
            runs=given.runs,
            seconds=given.seconds,
        )
    if given.json:
        print(json.dumps({"model": model.name, "rows": [asdict(row) for row in rows]}, indent=1))
    else:
        print_table(rows)
    outside = sum(abs(row.ratio - 1) > given.margin for row in rows)
    print(f"{len(rows) - outside} of {len(rows)} within {given.margin:.0%}", file=sys.stderr)
    return 1 if outside else 0


def compare(
    model: Path,
    inputs: Sequence[Any],
    at: Sequence[int],
    rates: Sequence[float],
    *,
    rounds: int,
    runs: int,
    seconds: float,
) -> list[Row]:
    """Predict and measure every split point at every rate."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        points = [_point(model, inputs, number, Path(folder)) for number in at]
        urls = [
            stack.enter_context(tail_server(point.tail.read_bytes(), [point.codec]))
            for point in points
        ]
        halves = [half for point in points for half in (point.head, point.tail)]
        found = []
        for number in range(rounds):
            device = measure_device("here", halves, threads=1, seconds=seconds, progress=_tell)
            rows = []
            for rate in rates:
                _tell(f"round {number + 1} of {rounds}: {rate:g} bit/s")
                latency_s = _empty_request_s(points[0], urls[0], rate, runs)
                link = Link("relay", bits_per_s=rate, latency_s=latency_s)
                for point, url in zip(points, urls):
                    rows.append(_row(point, device, link, _run_s(point, url, rate, inputs, runs)))
            found.append(rows)
    return [_median(same) for same in zip(*found)]


def _median(rows: Sequence[Row]) -> Row:
    """Of each figure; the names, and what is said, are the same in all."""
    figures = [one.name for one in fields(Row) if one.name.endswith("_ms")]
    middle = {name: statistics.median(getattr(row, name) for row in rows) for name in figures}
    ratio = middle["measured_ms"] / middle["predicted_ms"]
    return replace(rows[0], **middle, ratio=ratio)


def _point(model: Path, inputs: Sequence[Any], number: int, folder: Path) -> Point:
    graph = read_graph(model)
    cut = graph.list_cuts()[number]
    paths = [folder / f"{half}{number}.tflite" for half in ("head", "tail")]
    for path, half in zip(paths, graph.split(cut)):
        path.write_bytes(half)
    head = open_model(paths[0])
    features = np.concatenate([head(one)[0] for one in inputs])
    book = Codebook.fit(features, BITS)
    codec = Codec(book, CODER, shape=features.shape[1:], dtype=features.dtype.name)
    frames = [codec.encode(feature) for feature in features]
    return Point(cut, *paths, codec, statistics.mean(map(len, frames)))


@contextmanager
def _slow(url: str, rate: float) -> Iterator[str]:
    """The server's URL behind a relay."""
    place = urlsplit(url)
    link = Link("relay", bits_per_s=rate, latency_s=LATENCY_S)
    with Relay(str(place.hostname), int(place.port or 0), link) as relay:
        yield f"http://127.0.0.1:{relay.port}"


def _empty_request_s(point: Point, url: str, rate: float, runs: int) -> float:
    """What a request takes beside its payload and the tail."""
    frame = point.empty_frame()
    with _slow(url, rate) as slow, TailClient(slow, timeout_s=TIMEOUT_S) as tail:
        tail.ready()  # opens the connection
        replies = [tail.infer(frame) for _ in range(runs)]
    return statistics.median(r.roundtrip_s - r.tail_s for r in replies) - 8 * len(frame) / rate


def _run_s(point: Point, url: str, rate: float, inputs: Sequence[Any], runs: int) -> float:
    head = open_model(point.head)
    with (
        _slow(url, rate) as slow,
        EdgeClient(head, point.codec, HttpTransport(slow), timeout_s=TIMEOUT_S) as edge,
    ):
        edge.run(inputs[0])  # opens the connection
        taken = []
        for number in range(runs):
            begin = time.perf_counter()
            edge.run(inputs[number % len(inputs)])
            taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def _row(point: Point, device: DeviceProfile, link: Link, measured_s: float) -> Row:
    macs = {time.model: time.macs for time in device.model_times}
    candidate = Candidate(
        point.cut.name,
        macs[point.head.stem],
        macs[point.tail.stem],
        elements=point.cut.elements,
        coder=CODER,
        payload_bytes=point.frame_bytes,
        bits=BITS,
    )
    cost = evaluate(
        candidate, device.like(point.head.stem), link, server=device.like(point.tail.stem)
    )
    parts = (cost.compute_s, cost.codec_s, cost.link_s, cost.server_s, cost.latency_s, measured_s)
    return Row(
        point.cut.index,
        point.cut.name,
        link.bits_per_s,
        point.frame_bytes,
        *(1e3 * part for part in parts),
        measured_s / cost.latency_s,
    )


def print_table(rows: Sequence[Row]) -> None:
    """As Markdown; milliseconds."""
    columns = (
        "Mbit/s",
        "split",
        "bytes",
        "head",
        "coding",
        "link",
        "server",
        "predicted",
        "measured",
    )
    print(f"| {' | '.join(columns)} | ratio |")
    print("|---" * (len(columns) + 1) + "|")
    for row in rows:
        print(
            f"| {row.bits_per_s / 1e6:g} | {row.at} | {row.payload_bytes:.0f} | {row.head_ms:.2f} "
            f"| {row.coding_ms:.2f} | {row.link_ms:.1f} | {row.server_ms:.2f} "
            f"| {row.predicted_ms:.1f} | {row.measured_ms:.1f} | {row.ratio:.3f} |"
        )


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
