"""`splitcodec serve` with every link at a time."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pysplitcodec
from pysplitcodec import Codebook, Codec
from pysplitcodec.splitting import split

NEEDS = 'needs "pysplitcodec[serve,tflite,serial,mqtt]"'
for package in ("uvicorn", "httpx", "ai_edge_litert", "cobs", "serial", "paho.mqtt.client"):
    pytest.importorskip(package, reason=NEEDS)
if sys.platform == "win32":
    pytest.skip("needs pseudo terminals", allow_module_level=True)

from broker import free_port, mosquitto  # noqa: E402
from link_ends import TIMEOUT_S, Inbox  # noqa: E402
from server_process import serving  # noqa: E402
from wire import wire  # noqa: E402

from pysplitcodec.runtime import TFLiteModel  # noqa: E402
from pysplitcodec.serial_packets import parse_port  # noqa: E402
from pysplitcodec.serve import Sender, TailClient  # noqa: E402
from pysplitcodec.serve.messages import FrameRequest  # noqa: E402
from pysplitcodec.serve.mqtt_link import MqttTransport  # noqa: E402
from pysplitcodec.serve.serial_link import SerialTransport  # noqa: E402
from pysplitcodec.serve.stream_link import StreamTransport  # noqa: E402

DIGITS = Path(pysplitcodec.__file__).parent / "data" / "digits.tflite"


@pytest.fixture
def tail(tmp_path: Path) -> Path:
    """A tail's file, with its codec beside it and a frame in frame.spc."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        head, made = split(DIGITS, "bottleneck")
    image = np.random.default_rng(1).random((1, 8, 8, 1), dtype=np.float32)
    (feature,) = TFLiteModel(head)(image)
    levels = np.unique(np.linspace(feature.min(), feature.max(), 4))
    codec = Codec(Codebook(levels), "pack", shape=feature.shape[1:])
    codec.save(tmp_path / "codec.json")
    (tmp_path / "frame.spc").write_bytes(codec.encode(feature[0]))
    path = tmp_path / "digits.tflite"
    path.write_bytes(made)
    return path


def test_all_links_give_the_same_answer(tail: Path, tmp_path: Path) -> None:
    frame, port = (tmp_path / "frame.spc").read_bytes(), free_port()
    password = tmp_path / "password"
    password.write_text("unused by this broker\n")
    broker = f"mqtt://edge@127.0.0.1:{port}"
    with (
        mosquitto(tmp_path, port),
        wire() as line,
        serving(
            tmp_path, tail, "--stream-port", 0, "--serial", f"{line.ports[0]}:921600",
            "--mqtt", broker, "--mqtt-password", password,
        ) as server,
    ):  # fmt: skip
        with TailClient(server.url) as http:
            wanted = http.infer(frame).outputs
        transports = [
            StreamTransport("127.0.0.1", server.stream_port),
            SerialTransport(line.ports[1], 921600),
            MqttTransport(broker),
        ]
        inboxes = [Inbox() for _ in transports]
        for transport, inbox in zip(transports, inboxes):
            transport.open(*inbox.callbacks)
            assert_answered(transport, inbox, frame, wanted)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(TIMEOUT_S) == -signal.SIGTERM
        assert "the server closed it" in str(inboxes[0].loss())
        for transport in transports:
            transport.close()
    assert "Traceback" not in server.log.read_text()


def assert_answered(transport: Any, inbox: Inbox, frame: bytes, wanted: dict[str, Any]) -> None:
    for id in range(1, 500):
        transport.send(FrameRequest(id, frame))
        reply = inbox.reply()
        if reply.status != 503:  # the server is at the broker by now
            break
    assert reply.status == 200
    for name, array in wanted.items():
        np.testing.assert_array_equal(reply.outputs[name], array)


def test_a_server_behind_a_broker_that_is_killed(tail: Path, tmp_path: Path) -> None:
    """What it had taken has no answer, and nobody says so: it is sent again by itself."""
    frame, port = (tmp_path / "frame.spc").read_bytes(), free_port()
    options = ("--mqtt", f"mqtt://127.0.0.1:{port}")
    with mosquitto(tmp_path, port), Sender(MqttTransport(options[1]), timeout_s=20) as sender:
        with serving(tmp_path, tail, *options) as server:
            sender.submit(frame).result()
            server.process.send_signal(signal.SIGSTOP)  # what comes now is taken, and lost
            futures = [sender.submit(frame) for _ in range(5)]
            time.sleep(0.2)
            server.process.kill()
        with serving(tmp_path, tail, *options):
            for future in futures:
                assert future.result().reply.status == 200
        assert sender.stats.resent >= 5 and sender.stats.connected == 1


@pytest.mark.parametrize(
    "options, why",
    [
        (["--serial", "/dev/no-such-port"], "/dev/no-such-port"),
        (["--serial", "nothing://x"], "port is 'nothing://x'"),
        (["--mqtt", "http://host"], "url is 'http://host'"),
        (["--mqtt", "mqtt://user:secret@host"], "give it by itself"),
    ],
)
def test_links_that_cannot_be_served(tail: Path, options: list[str], why: str) -> None:
    command = [sys.executable, "-m", "pysplitcodec", "serve", tail, "--port", "0", *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert ended.returncode not in (0, -signal.SIGKILL)
    assert why in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr
    assert "secret" not in ended.stderr


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("/dev/ttyUSB0", ("/dev/ttyUSB0", 115200)),
        ("/dev/ttyUSB0:921600", ("/dev/ttyUSB0", 921600)),
        ("COM3", ("COM3", 115200)),
        ("socket://host:7000", ("socket://host:7000", 115200)),
        ("/dev/serial/by-path/usb-0:1.2:1.0", ("/dev/serial/by-path/usb-0:1.2:1.0", 115200)),
    ],
)
def test_ports_and_rates(text: str, wanted: tuple[str, int]) -> None:
    assert parse_port(text) == wanted
