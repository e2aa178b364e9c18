"""What the tail server holds: load, attacks, kills, bad links, and a long time.

    python bench/serving.py [--quick] [--only PART ...] [-o docs/results/serving.json] [--json]

| part | what it does |
|---|---|
| load | as many requests as 8 and 64 connections bring |
| overhead | one request after another, beside the same work without a server |
| malformed | a million requests, of which 1 % are bad in one of seven ways, and some that dribble |
| soak | half the load for 30 minutes; memory of the process |
| kill | an edge client at 50 frames a second, its server killed (-9) every 30 s for 5 minutes |
| broker | the same over MQTT, its broker killed once; needs mosquitto |
| links | an edge client over links of 250 kbit/s that lose nothing, 1 % and 10 %; beside the plan |
| messages | frames over a link that loses, repeats and swaps messages |

--quick is all of it in under a minute.  A part is merged into the file that -o names.  The server
and what asks it share the machine; the tail is toy_tail.py's, with frames of 6 kB.  Exits with 1 if
an answer was wrong, or a frame lost.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import selectors
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from checkout import commit
from load import Load, run
from load_requests import BAD_KINDS, Maker, mixed, random_frames
from mosquitto import Broker
from toy_tail import write

from pysplitcodec import Codec
from pysplitcodec.plan import Link
from pysplitcodec.runtime import TensorInfo, open_model
from pysplitcodec.serve import (
    EdgeClient,
    HttpTransport,
    MemoryTransport,
    MqttTransport,
    Service,
    Tail,
)
from pysplitcodec.serve.process import ServerProcess, server_process
from pysplitcodec.serve.relay import Relay
from pysplitcodec.serve.tokens import add_token

SEED = 0
LINK_BITS_PER_S = 250e3
LINK_LATENCY_S = 0.02
LOSSES = (0.0, 0.01, 0.1)
FRAMES_PER_S = 50

Row = dict[str, Any]


class Bench:
    """The toy tail and its codec, in a folder, and how long parts take."""

    def __init__(self, folder: Path, quick: bool) -> None:
        self.folder, self.quick = folder, quick
        self.tail_path, codec_path = write(folder)
        self.model, self.codec = open_model(self.tail_path), Codec.load(codec_path)
        self.frames = random_frames(self.codec, 32, SEED)
        self.features = [self.codec.decode(frame) for frame in self.frames]
        self.outputs = [self.model(feature[np.newaxis])[0] for feature in self.features]

    def served(self, *args: object, port: int = 0) -> Any:
        log = self.folder / "server.log"
        return server_process(self.tail_path, *args, log=log, port=port)

    def loaded(
        self, served: ServerProcess, connections: int, bad: float = 0, **options: Any
    ) -> Row:
        token, slow = options.pop("token", None), options.pop("slow", 0)
        place = urlsplit(served.url)
        maker = Maker(place.netloc, served.models[0], self.model, self.codec, token=token)
        requests = mixed(maker.good(), maker.bad(BAD_KINDS) if bad else [], bad, SEED)
        dribbling = (maker.slow(),) * slow
        address = str(place.hostname), int(place.port or 0)
        report = run(Load(address, requests, connections, slow=dribbling, **options))
        return {"connections": connections, **report}

    def edge(self, transport: Any, **options: Any) -> EdgeClient:
        """A client whose head gives the features that it is given numbers of."""
        return EdgeClient(_Given(self.features, self.codec), self.codec, transport, **options)

    def right(self, number: int, reply: Any) -> bool:
        (output,) = reply.outputs.values()
        return bool(output.tobytes() == self.outputs[number % len(self.outputs)].tobytes())


class _Given:
    """Stands for a head: the feature of a number."""

    platform = "numpy"

    def __init__(self, features: list[Any], codec: Codec) -> None:
        self._features = features
        self.inputs = [TensorInfo("number", (1,), "int64", None, None)]
        self.outputs = [TensorInfo("feature", (1, *codec.shape), codec.dtype, None, None)]

    def __call__(self, number: Any) -> list[Any]:
        return [self._features[int(number) % len(self._features)][np.newaxis]]


def load(bench: Bench) -> Row:
    """Requests per second at 8 and 64 connections."""
    seconds = 2 if bench.quick else 20
    with bench.served() as served:
        bench.loaded(served, 8, seconds=1)
        rows = [bench.loaded(served, connections, seconds=seconds) for connections in (8, 64)]
        return {"rows": rows, "wrong": sum(row["wrong"] for row in rows)}


def overhead(bench: Bench) -> Row:
    """One request at a time, beside decoding and the tail in this process."""
    count = 1000 if bench.quick else 10_000
    tail = Tail(bench.model, [bench.codec])
    works = [tail.of_frame(frame) for frame in bench.frames]
    for work in works:
        tail.run([work])
    taken = []
    for number in range(count):
        begin = time.perf_counter()
        tail.run([works[number % len(works)]])
        taken.append(time.perf_counter() - begin)
    with bench.served() as served:
        bench.loaded(served, 1, count=100)
        report = bench.loaded(served, 1, count=count)
    alone_ms, served_ms = 1e3 * statistics.median(taken), report["latency_ms"]["p50"]
    return {
        "in_process_ms_p50": round(alone_ms, 3),
        "served_ms_p50": served_ms,
        "overhead_ms_p50": round(served_ms - alone_ms, 3),
        "wrong": report["wrong"],
    }


def malformed(bench: Bench) -> Row:
    """Bad requests among good ones: each gets what it must, and the server goes on."""
    tokens = bench.folder / "tokens.toml"
    token = add_token(tokens, "bench")
    count = 10_000 if bench.quick else 1_000_000
    with bench.served("--tokens", tokens) as served:
        bench.loaded(served, 8, seconds=1, token=token)
        before = rss_mb(served)
        # dribbling requests are ended after 30 s, longer than --quick lasts
        slow = 0 if bench.quick else 4
        report = bench.loaded(
            served, 64, bad=0.01, count=count, token=token, slow=slow, timeout_s=60
        )
        after, alive = rss_mb(served), served.process.poll() is None
    said = (bench.folder / "server.log").read_text()
    return {
        **report,
        "rss_mb": [before, after],
        "alive": alive,
        "log_lines": said.count("\n"),
        "tracebacks": said.count("Traceback"),
        "wrong": report["wrong"] + (not alive),
    }


def soak(bench: Bench) -> Row:
    """Half the load for a long time: memory, and errors."""
    seconds = 5 if bench.quick else 1800
    with bench.served() as served:
        full = bench.loaded(served, 64, seconds=2 if bench.quick else 20)
        rate = round(full["requests_per_s"] / 2)
        sizes: list[float] = []
        over = threading.Event()

        def watch() -> None:
            while not over.wait(seconds / 180):
                sizes.append(rss_mb(served))

        watcher = threading.Thread(target=watch)
        watcher.start()
        report = bench.loaded(served, 64, seconds=seconds, rate=rate)
        over.set()
        watcher.join()
    tenth = max(1, len(sizes) // 10)
    first, last = statistics.mean(sizes[tenth : 2 * tenth]), statistics.mean(sizes[-tenth:])
    return {
        **report,
        "rate": rate,
        "rss_mb": [round(first, 1), round(last, 1)],
        "rss_drift": round(last / first - 1, 4),
    }


def kill(bench: Bench) -> Row:
    """A server that is killed over and over, and the frames of an edge client."""
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(bench.served())]
        url = processes[0].url

        def restart() -> None:
            processes[-1].process.kill()
            processes[-1].process.wait()
            again = bench.served(port=int(urlsplit(url).port or 0))
            processes.append(stack.enter_context(again))

        return _restarted(bench, HttpTransport(url), restart, 2 if bench.quick else 10)


def broker(bench: Bench) -> Row:
    """The same, of the MQTT broker between edge and server, once."""
    if not Broker.there:
        return {"skipped": "there is no mosquitto", "wrong": 0}
    between = Broker(bench.folder)
    try:
        between.restart()
        with bench.served("--mqtt", between.url):
            return _restarted(bench, MqttTransport(between.url), between.restart, 1)
    finally:
        between.stop()


def _restarted(bench: Bench, link: Any, restart: Callable[[], None], times: int) -> Row:
    """An edge client while something is killed, every 30 s, and there again at once."""
    every_s = 3.0 if bench.quick else 30.0
    replies: list[tuple[float, bool]] = []
    recovered: list[float] = []
    over = threading.Event()

    def numbers() -> Iterator[Any]:
        begin = time.monotonic()
        for number in range(10**9):
            if over.is_set():
                return
            time.sleep(max(0, begin + number / FRAMES_PER_S - time.monotonic()))
            yield number

    with bench.edge(link, timeout_s=60) as edge:

        def ask() -> None:
            for number, reply in enumerate(edge.stream(numbers())):
                replies.append((time.monotonic(), bench.right(number, reply)))

        thread = threading.Thread(target=ask)
        thread.start()
        for _ in range(times):
            time.sleep(every_s)
            restart()
            ready, seen = time.monotonic(), len(replies)
            while len(replies) == seen:
                time.sleep(0.001)
            recovered.append(replies[seen][0] - ready)
        time.sleep(every_s)
        over.set()
        thread.join()
        found = edge.statistics()
    wrong = sum(not right for _, right in replies)
    gaps = np.diff([when for when, _ in replies])
    return {
        "kills": times,
        "frames": found["samples"],
        "answered": len(replies),
        "resent": found["resent"],
        "repeated": found["repeated"],
        "recovered_s": [round(value, 3) for value in recovered],
        "longest_pause_s": round(float(gaps.max()), 3),
        "wrong": wrong + abs(found["samples"] - len(replies)),
    }


def links(bench: Bench) -> Row:
    """Frames one after another over a slow link that loses packets, and what a plan expects."""
    count = 6 if bench.quick else 200
    rows = []
    with bench.served() as served:
        place = urlsplit(served.url)
        fast_s, sent_bytes, received_bytes = _exchange(bench, served.url)
        for loss in LOSSES:
            link = Link(
                "relay",
                bits_per_s=LINK_BITS_PER_S,
                latency_s=LINK_LATENCY_S,
                packet_payload_bytes=1460,
                packet_overhead_bytes=40,
                loss=loss,
            )
            plain = Link(**{**vars(link), "loss": 0.0})
            expected_s = fast_s + plain.seconds(sent_bytes) + plain.seconds(received_bytes)
            with (
                Relay(str(place.hostname), int(place.port or 0), link, seed=SEED) as relay,
                bench.edge(HttpTransport(f"http://127.0.0.1:{relay.port}"), timeout_s=60) as edge,
            ):
                bench.right(0, edge.run(0))  # opens the connection
                replies = [edge.run(number) for number in range(count)]
            seconds = [reply.roundtrip_s for reply in replies]
            wrong = sum(not bench.right(number, reply) for number, reply in enumerate(replies))
            rows.append(
                {
                    "loss": loss,
                    "frames": count,
                    "expected_ms": round(1e3 * expected_s, 1),
                    "ms_p50": round(1e3 * statistics.median(seconds), 1),
                    "ms_mean": round(1e3 * statistics.mean(seconds), 1),
                    "ms_max": round(1e3 * max(seconds), 1),
                    "p50_over_expected": round(statistics.median(seconds) / expected_s, 3),
                    "wrong": wrong,
                }
            )
    return {"rows": rows, "wrong": sum(row["wrong"] for row in rows)}


def _exchange(bench: Bench, url: str) -> tuple[float, int, int]:
    """Seconds of a round trip without a link, and bytes there and back, with HTTP's heads."""
    place = urlsplit(url)
    with bench.edge(HttpTransport(url)) as edge:
        seconds = statistics.median(edge.run(number).roundtrip_s for number in range(50))
    address = str(place.hostname), int(place.port or 0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        counts = [0, 0]
        between = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=_count, args=(listener, address, counts), daemon=True)
        thread.start()
        with bench.edge(HttpTransport(between, connections=1)) as edge:
            edge.run(0)
            before = list(counts)
            edge.run(0)
    return seconds, counts[0] - before[0], counts[1] - before[1]


def _count(listener: socket.socket, address: tuple[str, int], counts: list[int]) -> None:
    """Pass connections on, and count the bytes of both directions."""
    with selectors.DefaultSelector() as waiting:
        waiting.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.data is None:
                    near, far = listener.accept()[0], socket.create_connection(address)
                    waiting.register(near, selectors.EVENT_READ, (far, 0))
                    waiting.register(far, selectors.EVENT_READ, (near, 1))
                    continue
                end, way = key.data
                piece = key.fileobj.recv(65536)  # type: ignore[union-attr]
                if not piece:
                    waiting.unregister(key.fileobj)
                    continue
                counts[way] += len(piece)
                end.sendall(piece)


def messages(bench: Bench) -> Row:
    """Every frame over a link that loses, repeats and swaps a tenth of its messages."""
    count = 300 if bench.quick else 20_000
    tail = Tail(bench.model, [bench.codec])
    link = MemoryTransport(Service([tail]), loss=0.1, repeat=0.1, swap=0.1, seed=SEED)
    with bench.edge(link, timeout_s=60, resend_s=0.02) as edge:
        replies = list(edge.stream(range(count)))
        found = edge.statistics()
    wrong = sum(not bench.right(number, reply) for number, reply in enumerate(replies))
    return {
        "frames": count,
        "resent": found["resent"],
        "repeated": found["repeated"],
        "wrong": wrong + count - len(replies),
    }


PARTS: dict[str, Callable[[Bench], Row]] = {
    part.__name__: part for part in (load, overhead, malformed, soak, kill, broker, links, messages)
}


def rss_mb(served: ServerProcess) -> float:
    """Memory of the server's process."""
    status = Path(f"/proc/{served.process.pid}/status").read_text()
    (kilobytes,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
    return int(kilobytes) / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="all of it in under a minute")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--json", action="store_true", help="print what was found")
    parser.add_argument("-o", "--output", type=Path, help="a file to merge it into")
    args = parser.parse_args()
    found: Row = {}
    if args.output and args.output.exists():
        found = json.loads(args.output.read_text())
    wrong = 0
    for name in args.only:
        print(f"{name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            begin = time.monotonic()
            row = PARTS[name](Bench(Path(folder), args.quick))
        took_s = round(time.monotonic() - begin, 1)
        wrong += row["wrong"]
        about = {"quick": args.quick, "took_s": took_s, "commit": commit()}
        found[name] = {**about, "cores": os.cpu_count(), "python": platform.python_version(), **row}
        if args.output:
            args.output.write_text(json.dumps(found, indent=1) + "\n")
    if args.json:
        print(json.dumps({name: found[name] for name in args.only}))
    else:
        for name in args.only:
            print(name, json.dumps(found[name], indent=1))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
