"""Load on a tail server: many connections, good and bad requests, every answer checked.

    python bench/load.py http://127.0.0.1:8000 --tail tail.onnx --codec codec.json \
        [--connections 8] [--seconds 10 | --count N] [--rate PER_S] [--bad 0.05] [--slow 2] [--json]

Each connection sends its next request once it has its answer; with --rate requests are due at even
intervals instead, wait for a free connection, and their latency counts from when they were due.
The outputs that are right come from running the tail here.  A share of --bad is of the kinds in
load_requests.BAD_KINDS: each has its own status, and must not disturb the others.  --slow adds
connections whose requests dribble, and which the server must end within --timeout seconds.

Exits with 1 if anything was answered wrongly.  It does little for a request (an event loop that
calls back, bytes that are ready), since it shares the cores with the server it measures.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from load_requests import BAD_KINDS, Maker, Request, mixed

from pysplitcodec import Codec
from pysplitcodec.runtime import open_model

__all__ = ["Load", "run"]

DRIBBLE_S = 0.2
EXAMPLES = 5  # of wrong answers, for the report


class Connection(asyncio.Protocol):
    """Sends one request at a time, and opens itself again when it was closed."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.transport: Any = None
        self.request: Request | None = None
        self.due = self.sent = 0.0
        self.received = b""

    async def open(self) -> None:
        while not self.load.over:
            with contextlib.suppress(OSError):
                await asyncio.get_running_loop().create_connection(lambda: self, *self.load.address)
                self.load.ready(self)
                return
            self.load.record("connect", "refused", False, b"")
            await asyncio.sleep(0.1)
        self.load.leave(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def send(self, request: Request, due: float) -> None:
        self.request, self.due, self.sent = request, due, time.perf_counter()
        self.received = b""
        self.transport.write(request.data)
        if request.leaves:
            self.transport.close()
        elif request.rest:
            self._dribble(request, 0)

    def _dribble(self, request: Request, at: int) -> None:
        if self.request is request and at < len(request.rest):
            self.transport.write(request.rest[at : at + 1])
            asyncio.get_running_loop().call_later(DRIBBLE_S, self._dribble, request, at + 1)

    def data_received(self, data: bytes) -> None:
        if self.request is None:
            self.load.record("nothing", "answered", False, data)
            self.transport.abort()
            return
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return
        headers = head.lower()
        _, found, length = headers.partition(b"\r\ncontent-length:")
        if not found:
            self._done("unreadable", self.received)
            self.transport.abort()
        elif len(body) >= int(length.split(b"\r\n", 1)[0]):
            self._done(head[9:12].decode("ascii", "replace"), body)
            if b"\r\nconnection: close" in headers:
                self.transport.close()
            else:
                self.load.ready(self)

    def connection_lost(self, _error: Exception | None) -> None:
        if self.request is not None:
            self._done("closed", self.received)
        self.load.lost(self)
        self.load.spawn(self.open())

    def give_up(self) -> None:
        self._done("timeout", self.received)
        self.transport.abort()

    def _done(self, outcome: str, body: bytes) -> None:
        request = self.request
        assert request is not None
        self.request = None
        right = outcome in request.outcomes
        if right and outcome != "closed":
            right = request.is_right(int(outcome), body)
        if right and outcome == "200":
            self.load.latencies.append(time.perf_counter() - self.due)
        self.load.record(request.kind, outcome, right, body)


class Load:
    """One run against a server; `run` gives the report.

    address: host and port.  requests: what to send, without end; it stops after `seconds` or
    `count` requests, whichever comes first.  rate: requests per second, None to send the next one
    as soon as a connection is free.  slow: requests that dribble, each on a connection of its own.
    timeout_s: after which a request without an answer is given up, and wrong.
    """

    def __init__(
        self,
        address: tuple[str, int],
        requests: Iterator[Request],
        connections: int,
        *,
        seconds: float = float("inf"),
        count: float = float("inf"),
        rate: float | None = None,
        slow: tuple[Request, ...] = (),
        timeout_s: float = 30,
    ) -> None:
        self.address, self.over = address, False
        self.answers: dict[str, Counter[str]] = {}
        self.wrong, self.examples = 0, []  # type: int, list[dict[str, str]]
        self.latencies = array("d")
        self._requests, self._left = requests, count
        self._seconds, self._rate, self._timeout_s = seconds, rate, timeout_s
        self._due: deque[float] = deque()
        # the one that is idle longest goes first, so that servers have no reason to close it
        self._idle: deque[Connection] = deque()
        self._connections = {Connection(self) for _ in range(connections)}
        self._slow = {Connection(self): request for request in slow}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> dict[str, Any]:
        self._ended = asyncio.get_running_loop().create_future()
        cpu_s, self._begin = time.process_time(), time.perf_counter()
        for connection in (*self._connections, *self._slow):
            self.spawn(connection.open())
        clock = asyncio.ensure_future(self._tick())
        await self._ended
        took_s = time.perf_counter() - self._begin
        clock.cancel()
        for connection in self._slow:
            if connection.request is not None:
                self.answers.setdefault("slow", Counter())["unfinished"] += 1
                connection.request = None
                connection.transport.abort()
        await asyncio.sleep(0)
        return self._report(took_s, time.process_time() - cpu_s)

    def ready(self, connection: Connection) -> None:
        """Give a connection that is free its next request, or let it go."""
        if self.over:
            connection.transport.close()
        elif connection in self._slow:
            connection.send(self._slow[connection], time.perf_counter())
        elif self._rate is None:
            self._send(connection, time.perf_counter())
        elif self._due:
            self._send(connection, self._due.popleft())
        else:
            self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)

    def leave(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections and not self._ended.done():
            self._ended.set_result(None)

    def record(self, kind: str, outcome: str, right: bool, body: bytes) -> None:
        self.answers.setdefault(kind, Counter())[outcome] += 1
        if not right:
            self.wrong += 1
            if len(self.examples) < EXAMPLES:
                said = body[:200].decode("utf-8", "replace")
                self.examples.append({"kind": kind, "outcome": outcome, "body": said})

    def spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _send(self, connection: Connection, due: float) -> None:
        self._left -= 1
        if self._left <= 0:
            self._stop()
        connection.send(next(self._requests), due)

    def _stop(self) -> None:
        self.over = True
        while self._idle:
            self._idle.popleft().transport.close()

    async def _tick(self) -> None:
        """Make requests due, and give up those that have waited too long."""
        dues, looked = 0, self._begin
        while True:
            now = time.perf_counter()
            if now - self._begin >= self._seconds and not self.over:
                self._stop()
            if self._rate is not None and not self.over:
                while dues / self._rate <= now - self._begin:
                    self._due.append(self._begin + dues / self._rate)
                    dues += 1
                while self._due and self._idle and not self.over:
                    self._send(self._idle.popleft(), self._due.popleft())
            if now - looked > self._timeout_s / 20:
                looked = now
                for connection in (*self._connections, *self._slow):
                    if connection.request is not None and now - connection.sent > self._timeout_s:
                        connection.give_up()
            await asyncio.sleep(0.01 if self._rate is None else min(0.01, 0.5 / self._rate))

    def _report(self, took_s: float, cpu_s: float) -> dict[str, Any]:
        rows = np.asarray(self.latencies) * 1e3
        ranks = {"p50": 50, "p90": 90, "p99": 99, "max": 100}
        return {
            "seconds": round(took_s, 3),
            "requests_per_s": round(len(rows) / took_s, 1),
            "latency_ms": {
                name: round(float(np.percentile(rows, rank)), 3) if len(rows) else None
                for name, rank in ranks.items()
            },
            "answers": {kind: dict(counts) for kind, counts in sorted(self.answers.items())},
            "wrong": self.wrong,
            "wrong_examples": self.examples,
            "unsent": len(self._due),
            "client_cpu_s": round(cpu_s, 3),
        }


def run(load: Load) -> dict[str, Any]:
    """Run a load to its end, on uvloop where it is installed.

    The report: requests_per_s and latency_ms of good requests that were answered rightly with 200;
    answers, by kind of request, how many had each outcome: a status, "closed" (the connection,
    without an answer), "timeout"; wrong, how many were not as they must be, and some of them.
    """
    try:
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    except ImportError:
        loop = asyncio.new_event_loop()
    with contextlib.closing(loop):
        report: dict[str, Any] = loop.run_until_complete(load.run())
        return report


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url", help="the server, http://HOST:PORT")
    parser.add_argument("--tail", type=Path, required=True, help="the file that it serves")
    parser.add_argument("--codec", type=Path, required=True, help="a codec that it was given")
    parser.add_argument("--model", help="the tail's name on the server; by default the file's")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--count", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--rate", type=float, help="requests per second, however long they take")
    parser.add_argument("--bad", type=float, default=0, help="share of bad requests, 0 to 1")
    parser.add_argument("--kinds", nargs="+", choices=BAD_KINDS, default=BAD_KINDS)
    parser.add_argument("--slow", type=int, default=0, help="connections that dribble, beside")
    parser.add_argument("--token", help="for servers that ask for one")
    parser.add_argument("--busy", type=int, help="status that a good request may get too")
    parser.add_argument("--timeout", type=float, default=30, help="seconds for one request")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    url = urlsplit(args.url)
    maker = Maker(
        url.netloc,
        args.model or args.tail.stem,
        open_model(args.tail),
        Codec.load(args.codec),
        token=args.token,
        busy=args.busy,
        seed=args.seed,
    )
    load = Load(
        (url.hostname, url.port or 80),
        mixed(maker.good(), maker.bad(args.kinds), args.bad, args.seed),
        args.connections,
        seconds=args.seconds,
        count=args.count,
        rate=args.rate,
        slow=(maker.slow(),) * args.slow,
        timeout_s=args.timeout,
    )
    report = {"connections": args.connections, **run(load)}
    if args.json:
        print(json.dumps(report))
    else:
        for name, value in report.items():
            print(f"{name}: {value}")
    return 1 if report["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
