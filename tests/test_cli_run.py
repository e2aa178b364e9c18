"""`splitcodec run`: files, folders and videos through a head, a link and a tail."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

NEEDS = 'needs "pysplitcodec[serve,tflite]"'
for package in ("httpx", "starlette", "uvicorn", "prometheus_client", "ai_edge_litert", "typer"):
    pytest.importorskip(package, reason=NEEDS)

from digits_bundle import write_digits_bundle  # noqa: E402
from server_process import TIMEOUT_S, Served, serving  # noqa: E402

from pysplitcodec import Codebook, Codec  # noqa: E402
from pysplitcodec.demo import load_digits  # noqa: E402
from pysplitcodec.errors import ArgumentError  # noqa: E402
from pysplitcodec.runtime import TFLiteModel  # noqa: E402
from pysplitcodec.serve.link_url import transport_for  # noqa: E402

DIGITS = load_digits()
HEAD, TAIL = TFLiteModel(DIGITS.head), TFLiteModel(DIGITS.tail)


def answers(codec: Codec, images: Any) -> list[int]:
    return [int(TAIL(codec.decode(codec.encode(HEAD(i)[0][0]))[None])[0].argmax()) for i in images]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("out")
    features = np.concatenate([HEAD(image)[0] for image in DIGITS.calibration])
    codec = Codec(Codebook.fit(features, 3), "pack", shape=features.shape[1:])
    write_digits_bundle(path, codec)
    np.save(path / "inputs.npy", DIGITS.images[:20, 0])
    (path / "whole.tflite").write_bytes(DIGITS.model)
    return path


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    with serving(folder, folder) as found:
        yield found


def run(folder: Path, url: str, *args: object, fails: str = "") -> Any:
    command = [sys.executable, "-m", "pysplitcodec", "run", folder / "head.tflite", "--server", url]
    done = subprocess.run(
        [*map(str, command), *map(str, args), "--json"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert "Traceback" not in done.stderr
    if fails:
        assert done.returncode and fails in " ".join(done.stderr.split())
        return None
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def test_files(folder: Path, served: Served) -> None:
    found = run(folder, served.url, "--input", folder / "inputs.npy")
    codec = Codec.load(folder / "codec.json")
    assert [row["top"] for row in found["rows"]] == answers(codec, DIGITS.images[:20])
    assert [row["number"] for row in found["rows"]] == list(range(20))
    assert all(row["fallback"] is None and row["roundtrip_ms"] > 0 for row in found["rows"])
    sent = sum(row["frame_bytes"] for row in found["rows"])
    assert found["statistics"]["samples"] == 20 and found["statistics"]["sent_bytes"] == sent
    first = run(folder, served.url, "--input", folder / "inputs.npy", "--frames", 3)
    assert len(first["rows"]) == 3


def test_a_folder_of_images(folder: Path, served: Served, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    for number, pixels in enumerate(DIGITS.pixels[:5]):
        image.fromarray(pixels).save(tmp_path / f"{number}.png")
    found = run(folder, served.url, "--input", tmp_path)
    assert len(found["rows"]) == 5


def test_a_video(folder: Path, served: Served, tmp_path: Path) -> None:
    """Frames of one shade each give the answers that images of that shade give."""
    cv2 = pytest.importorskip("cv2", reason='needs "pysplitcodec[video]"')
    file = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    shades = [16, 80, 144, 208] * 5
    for shade in shades:
        writer.write(np.full((48, 64, 3), shade, np.uint8))
    writer.release()
    found = run(folder, served.url, "--input", file)
    assert len(found["rows"]) == len(shades)
    images = [np.full((1, 8, 8, 1), shade / 255, np.float32) for shade in shades]
    wanted = answers(Codec.load(folder / "codec.json"), images)
    assert [row["top"] for row in found["rows"]] == wanted
    (tmp_path / "no.mp4").write_bytes(b"no video")
    run(folder, served.url, "--input", tmp_path / "no.mp4", fails="no.mp4 gives no frame")


def test_a_camera_that_is_not_there(folder: Path, served: Served) -> None:
    pytest.importorskip("cv2", reason='needs "pysplitcodec[video]"')
    run(folder, served.url, "--camera", 97, fails="camera 97 gives no frame")


@pytest.mark.parametrize("kind", ["whole", "skip"])
def test_a_server_that_is_not_there(folder: Path, kind: str) -> None:
    inputs = ("--input", folder / "inputs.npy", "--timeout", 0.5)
    gone = "http://127.0.0.1:9"
    run(folder, gone, *inputs, fails="no server answers at http://127.0.0.1:9")
    fallback = folder / "whole.tflite" if kind == "whole" else "skip"
    found = run(folder, gone, *inputs, "--fallback", fallback, "--frames", 5)
    assert len(found["rows"]) == found["statistics"]["fallbacks"] == 5
    assert all("no server answers" in row["fallback"] for row in found["rows"])
    if kind == "whole":
        whole = TFLiteModel(DIGITS.model)
        wanted = [int(whole(image)[0].argmax()) for image in DIGITS.images[:5]]
        assert [row["top"] for row in found["rows"]] == wanted
    else:
        assert all(row["outputs"] == {} for row in found["rows"])


def test_another_link(folder: Path, tmp_path: Path) -> None:
    with serving(tmp_path, folder, "--stream-port", 0) as tcp:
        url = f"tcp://127.0.0.1:{tcp.stream_port}"
        found = run(folder, url, "--input", folder / "inputs.npy")
    codec = Codec.load(folder / "codec.json")
    assert [row["top"] for row in found["rows"]] == answers(codec, DIGITS.images[:20])


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://10.0.0.1:8000", "HttpTransport"),
        ("tcp://10.0.0.1:8001", "StreamTransport"),
        ("tls://[::1]:8001", "StreamTransport"),
        ("serial:/dev/ttyUSB0:9600", "SerialTransport"),
    ],
)
def test_links_by_url(url: str, kind: str) -> None:
    assert type(transport_for(url)).__name__ == kind


@pytest.mark.parametrize(
    "url", ["", "10.0.0.1", "tcp://10.0.0.1", "tcp://:5", "tcp://a:b", "ftp://a:1", "tcp://[:1"]
)
def test_urls_of_no_link(url: str) -> None:
    with pytest.raises(ArgumentError, match=r"the server is .*: expected http://"):
        transport_for(url)


def test_bad_arguments(folder: Path, served: Served) -> None:
    run(folder, served.url, fails="--input and --camera: expected one of them")
    both = ("--camera", 0, "--input", folder / "inputs.npy")
    run(folder, served.url, *both, fails="--input and --camera: expected one of them")
    inputs = ("--input", folder / "inputs.npy")
    run(folder, served.url, *inputs, "--timeout", 0, fails="timeout_s is 0")
    run(folder, served.url, *inputs, "--fallback", "nothing.tflite", fails="nothing.tflite")
    run(folder, served.url, *inputs, "--model", "nobody", fails="there is no model 'nobody'")
