"""The server as a process: who may ask, what is read again, how it stops, and what is too slow."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pysplitcodec import Codebook, Codec
from pysplitcodec.demo import load_digits
from pysplitcodec.errors import ArgumentError, ServerError

NEEDS = 'needs "pysplitcodec[serve,tflite]"'
for name in ("httpx", "starlette", "uvicorn", "prometheus_client", "ai_edge_litert"):
    pytest.importorskip(name, reason=NEEDS)

import httpx  # noqa: E402
from digits_bundle import write_digits_bundle  # noqa: E402
from server_process import TIMEOUT_S, Served, serving  # noqa: E402

from pysplitcodec.runtime import TFLiteModel  # noqa: E402
from pysplitcodec.serve import TailClient, protocol  # noqa: E402
from pysplitcodec.serve.limits import RefusalError  # noqa: E402
from pysplitcodec.serve.tokens import Tokens, add_token  # noqa: E402

DIGITS = load_digits()
HEAD, TAIL = TFLiteModel(DIGITS.head), TFLiteModel(DIGITS.tail)
FEATURE = HEAD(DIGITS.images[0])[0]
CODEC = Codec(Codebook.fit(FEATURE, 2), "pack", shape=FEATURE.shape[1:])
FRAME = CODEC.encode(FEATURE[0])
(WANTED,) = TAIL(CODEC.decode(FRAME)[None])


def right(outputs: dict[str, np.ndarray]) -> bool:
    return next(iter(outputs.values())).tobytes() == WANTED.tobytes()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_digits_bundle(tmp_path / "out", CODEC)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def logged(served: Served, text: str) -> Callable[[], bool]:
    return lambda: text in served.log.read_text()


def request(frame: bytes = FRAME, **headers: str) -> bytes:
    """An infer request, as bytes on a connection."""
    tensor = np.empty(1, object)
    tensor[0] = frame
    message = protocol.encode_request({"frame": tensor})
    lines = {"Host": "tail", "Content-Length": str(len(message.body)), **message.headers()}
    head = "".join(f"{key}: {value}\r\n" for key, value in {**lines, **headers}.items())
    return f"POST /v2/models/digits/infer HTTP/1.1\r\n{head}\r\n".encode() + message.body


def connect(served: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", httpx.URL(served.url).port), TIMEOUT_S)


def answer(connection: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    found = b""
    while piece := connection.recv(65536):
        found += piece
    return found


# ---------------------------------------------------------------- bundles, and reading them again


def test_a_bundle(bundle: Path, tmp_path: Path) -> None:
    with serving(tmp_path, bundle) as served, TailClient(served.url) as tail:
        assert served.models == ["digits"]
        assert right(tail.infer(FRAME).outputs)


@pytest.mark.parametrize("part", ["head.tflite", "tail.tflite", "codec.json"])
def test_a_bundle_that_was_changed(bundle: Path, part: str) -> None:
    changed = bundle / part
    changed.write_bytes(changed.read_bytes() + b"\n")
    command = [sys.executable, "-m", "pysplitcodec", "serve", str(bundle), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode and f"{part} does not have the SHA-256" in done.stderr
    assert "Traceback" not in done.stderr


def test_reading_again(bundle: Path, tmp_path: Path) -> None:
    """Under load, a good change is served and a bad one is not; no request is lost."""
    with serving(tmp_path, bundle) as served, TailClient(served.url, "digits") as tail:
        answers: list[bool] = []
        over = threading.Event()

        def ask() -> None:
            while not over.is_set():
                answers.append(right(tail.infer(FRAME).outputs))

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            for _ in range(3):
                served.process.send_signal(signal.SIGHUP)
                time.sleep(0.1)
            until(logged(served, "read again: serving digits"))
            other = tmp_path / "out" / "tail.tflite"
            other.write_bytes(DIGITS.head)
            served.process.send_signal(signal.SIGHUP)
            until(logged(served, "nothing was read again, all stays as it was"))
            until(lambda: len(answers) > 20)
        finally:
            over.set()
            thread.join()
        assert all(answers)
        write_digits_bundle(bundle, CODEC, "renamed")
        served.process.send_signal(signal.SIGHUP)
        until(logged(served, "read again: serving renamed"))
        with TailClient(served.url) as renamed:
            assert renamed.model == "renamed" and right(renamed.infer(FRAME).outputs)
        with pytest.raises(ServerError, match="404: there is no model 'digits'") as gone:
            tail.infer(FRAME)
        assert gone.value.status == 404


# ---------------------------------------------------------------- tokens and TLS


def test_tokens(bundle: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    good = add_token(tokens, "kitchen", days=1)
    assert stat.S_IMODE(tokens.stat().st_mode) == 0o600 and good not in tokens.read_text()
    with serving(tmp_path, bundle, "--tokens", tokens) as served:
        for token in (None, "x", good + "x", "\N{SNOWMAN}"):
            headers = {} if token is None else {"Authorization": f"Bearer {token}".encode()}
            found = httpx.get(f"{served.url}/v2", headers=headers)
            assert found.status_code == 401 and found.headers["www-authenticate"] == "Bearer"
            assert good not in found.text
        assert httpx.get(f"{served.url}/metrics").status_code == 401
        assert httpx.get(f"{served.url}/v2/health/ready").status_code == 200
        with TailClient(served.url, token=good) as tail:
            assert right(tail.infer(FRAME).outputs)
        with TailClient(served.url, "digits") as tail, pytest.raises(ServerError) as refused:
            tail.infer(FRAME)
        assert refused.value.status == 401
        # one that is taken away ends with the next reading
        tokens.write_text("")
        served.process.send_signal(signal.SIGHUP)
        until(logged(served, "read again"))
        headers = {"Authorization": f"Bearer {good}"}
        assert httpx.get(f"{served.url}/v2", headers=headers).status_code == 401
        assert good not in served.log.read_text()


def test_the_command_makes_tokens(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    command = [sys.executable, "-m", "pysplitcodec", "token", "pi-1", "--tokens", str(file)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    made = json.loads(done.stdout)
    assert Tokens.load(file).client(f"Bearer {made['token']}") == made["name"] == "pi-1"
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode and "has a token of pi-1" in again.stderr


def test_tokens_that_will_not_do(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    token = add_token(file, "old", days=1e-6)
    time.sleep(1.1)  # expires is in whole seconds
    with pytest.raises(RefusalError, match="the token of old has expired"):
        Tokens.load(file).client(f"Bearer {token}")
    for header in (None, "", "Bearer", "Basic abc", "Bearer "):
        with pytest.raises(RefusalError, match="a bearer token is needed"):
            Tokens.load(file).client(header)
    digest = "0" * 64
    for text, says in (
        ("[a]\n", "expected sha256 and expires"),
        ('[a]\nsha256 = "00"\n', "expected sha256 and expires"),
        (f'[a]\nsha256 = "{digest}"\ntoken = "x"\n', "expected sha256 and expires"),
        (f'[a]\nsha256 = "{digest}"\nexpires = 2030-01-01\n', "expected a time with its zone"),
        (f'[a]\nsha256 = "{digest}"\n[b]\nsha256 = "{digest}"\n', "the token of another"),
        ("a = 1\n", "expected sha256 and expires"),
        ("[", "is no TOML"),
    ):
        file.write_text(text)
        with pytest.raises(ArgumentError, match=says):
            Tokens.load(file)
    with pytest.raises(ArgumentError, match="name is"):
        add_token(tmp_path / "new.toml", "a b")
    with pytest.raises(ArgumentError, match="days is 0"):
        add_token(tmp_path / "new.toml", "a", days=0)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an authority, and of 127.0.0.1 by it."""
    trustme = pytest.importorskip("trustme", reason="certificates need trustme")
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for number, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(folder / "cert.pem", append=number > 0)
    trustme.CA().cert_pem.write_to_path(folder / "other.pem")
    return folder


def test_tls(bundle: Path, certificates: Path, tmp_path: Path) -> None:
    keys = ("--tls-cert", certificates / "cert.pem", "--tls-key", certificates / "key.pem")
    with serving(tmp_path, bundle, *keys) as served:
        assert served.url.startswith("https://")
        with TailClient(served.url, ca=certificates / "ca.pem") as tail:
            assert right(tail.infer(FRAME).outputs)
        for ca in (None, certificates / "other.pem"):
            with TailClient(served.url, ca=ca) as tail, pytest.raises(ServerError, match="verify"):
                tail.infer(FRAME)
        plain = served.url.replace("https", "http")
        with TailClient(plain, "digits") as tail, pytest.raises(ServerError):
            tail.infer(FRAME)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with connect(served) as raw, pytest.raises((ssl.SSLError, OSError)):
            old.wrap_socket(raw)
        with TailClient(served.url, ca=certificates / "ca.pem") as tail:
            assert right(tail.infer(FRAME).outputs)
        assert "Traceback" not in served.log.read_text()


def test_certificates_that_are_none(bundle: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing")
    command = [sys.executable, "-m", "pysplitcodec", "serve", str(bundle), "--port", "0"]
    for options, says in (
        (["--tls-cert", str(bad), "--tls-key", str(bad)], "expected a certificate and its key"),
        (["--tls-cert", str(bad)], "expected both, or neither"),
    ):
        done = subprocess.run(
            [*command, *options], capture_output=True, text=True, timeout=TIMEOUT_S
        )
        assert done.returncode and says in done.stderr and "Traceback" not in done.stderr


# ---------------------------------------------------------------- the end, and what is too slow


def test_no_request_is_lost_when_it_stops(bundle: Path, tmp_path: Path) -> None:
    """SIGTERM under load: what was taken is answered, and clients are told to leave."""
    with serving(tmp_path, bundle) as served:
        sent, answered, closed = [0] * 8, [0] * 8, [0] * 8

        def ask(number: int) -> None:
            with connect(served) as connection:
                file = connection.makefile("rb")
                while True:
                    connection.sendall(request())
                    sent[number] += 1
                    status = file.readline()
                    assert status.startswith(b"HTTP/1.1 200"), status
                    head = b"".join(iter(file.readline, b"\r\n")).lower()
                    (length,) = re.findall(rb"^content-length: (\d+)", head, re.MULTILINE)
                    assert file.read(int(length)).endswith(WANTED.tobytes())
                    answered[number] += 1
                    if b"connection: close" in head:
                        assert not file.read()
                        closed[number] += 1
                        return

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        until(lambda: min(answered) > 10)
        served.process.terminate()
        for thread in threads:
            thread.join(TIMEOUT_S)
        assert served.process.wait(TIMEOUT_S) == -signal.SIGTERM
        assert sent == answered and closed == [1] * 8


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that waits one second for a request."""
    folder = tmp_path_factory.mktemp("impatient")
    write_digits_bundle(folder, CODEC)
    code = (
        "import sys; from pysplitcodec.serve import ServerLimits, serve; "
        "serve([sys.argv[1]], port=0, limits=ServerLimits(body_s=1.0), announce=True)"
    )
    log = folder / "log"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-c", code, str(folder)],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            yield Served(ready["url"], ready["models"], process, log)
        finally:
            process.kill()


def test_slow_bodies(impatient: Served) -> None:
    with connect(impatient) as slow, connect(impatient) as other:
        slow.sendall(request()[:-10])
        other.sendall(request(Connection="close"))
        assert answer(other).endswith(WANTED.tobytes())
        found = answer(slow)
    assert found.startswith(b"HTTP/1.1 408") and b"did not come within 1 s" in found


@pytest.mark.parametrize("begin", [b"", b"POST /v2/mod", request().partition(b"\r\n")[0]])
def test_slow_heads(impatient: Served, begin: bytes) -> None:
    with connect(impatient) as slow:
        slow.sendall(begin)
        assert not answer(slow)
    with connect(impatient) as slow:  # also behind a good request
        slow.sendall(request())
        assert slow.recv(65536).startswith(b"HTTP/1.1 200")
        slow.sendall(b"GET /v2/he")
        answer(slow)


def test_what_is_no_http(impatient: Served) -> None:
    with connect(impatient) as connection:
        connection.sendall(os.urandom(1000))
        found = answer(connection)
    assert not found or found.startswith(b"HTTP/1.1 400")
    with TailClient(impatient.url) as tail:
        assert right(tail.infer(FRAME).outputs)
