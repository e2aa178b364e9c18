"""Round trips of frames over each link on loopback: `python bench/links.py [REQUESTS]`.

The server is a process of its own with the tail of bench/toy_tail.py, whose frames have 6 kB.  One
request is under way at a time.  MQTT needs mosquitto and runs one with TCP_NODELAY; the serial line
is a pair of pseudo terminals that a thread of this process connects, and so has no bit rate.  A row
of JSON for each link, with milliseconds from sending to the reply.
"""

from __future__ import annotations

import json
import os
import queue
import select
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from mosquitto import Broker
from toy_tail import CHANNELS, SIZE, toy_codec, write

from pysplitcodec.serve import MqttTransport, SerialTransport, StreamTransport, TailClient
from pysplitcodec.serve.messages import FrameReply, FrameRequest
from pysplitcodec.serve.process import server_process

_WARM_UP = 50
_TIMEOUT_S = 30


def roundtrips(transport: Any, frame: bytes, requests: int) -> list[float]:
    """Seconds of each, after some to warm up."""
    replies: queue.Queue[FrameReply] = queue.Queue()
    transport.open(replies.put, print)
    found = []
    for id in range(1, requests + _WARM_UP + 1):
        begin = time.perf_counter()
        transport.send(FrameRequest(id, frame))
        reply = replies.get(timeout=_TIMEOUT_S)
        found.append(time.perf_counter() - begin)
        if reply.status != 200:
            raise SystemExit(f"{type(transport).__name__}: {reply.status} {reply.error}")
    transport.close()
    return found[_WARM_UP:]


def http_roundtrips(url: str, frame: bytes, requests: int) -> list[float]:
    with TailClient(url) as tail:
        found = [tail.infer(frame).roundtrip_s for _ in range(requests + _WARM_UP)]
    return found[_WARM_UP:]


def main(requests: int) -> None:
    feature = np.random.default_rng(0).normal(0, 1, (CHANNELS, SIZE, SIZE)).astype(np.float32)
    frame = toy_codec().encode(feature)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tail, _ = write(folder)
        ports = _wire()
        options, broker = ["--stream-port", "0", "--serial", ports[0]], Broker(folder)
        if Broker.there:
            stack.callback(broker.stop)
            broker.restart()
            options += ["--mqtt", broker.url]
        server = stack.enter_context(server_process(tail, *options, log=folder / "server.log"))
        runs: dict[str, Callable[[], list[float]]] = {
            "http": lambda: http_roundtrips(server.url, frame, requests),
            "stream": lambda: roundtrips(
                StreamTransport("127.0.0.1", server.stream_port), frame, requests
            ),
            "serial": lambda: roundtrips(SerialTransport(ports[1]), frame, requests),
        }
        if Broker.there:
            time.sleep(1)  # the server subscribes meanwhile
            runs["mqtt"] = lambda: roundtrips(MqttTransport(broker.url), frame, requests)
        for link, run in runs.items():
            quarters = 1e3 * np.percentile(run(), [50, 90, 99])
            p50, p90, p99 = (round(float(value), 3) for value in quarters)
            row = {"link": link, "requests": requests, "frame_bytes": len(frame)}
            print(json.dumps({**row, "p50_ms": p50, "p90_ms": p90, "p99_ms": p99}), flush=True)


def _wire() -> tuple[str, str]:
    """Two pseudo terminals that are connected."""
    (one, its), (two, other) = os.openpty(), os.openpty()

    def carry() -> None:
        while True:
            for end in select.select([one, two], [], [])[0]:
                data = os.read(end, 4096)
                while data:
                    data = data[os.write(two if end == one else one, data) :]

    threading.Thread(target=carry, daemon=True).start()
    return os.ttyname(its), os.ttyname(other)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
