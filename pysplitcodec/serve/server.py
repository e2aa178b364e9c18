"""The tail server as a process: files in, requests answered until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Any

import uvicorn

from pysplitcodec.codec import Codec
from pysplitcodec.errors import ArgumentError, ServerError, SplitCodecError
from pysplitcodec.plan import DeviceProfile
from pysplitcodec.serial_packets import parse_port
from pysplitcodec.serve.app import create_app
from pysplitcodec.serve.connections import Connections
from pysplitcodec.serve.limits import ServerLimits
from pysplitcodec.serve.logs import set_up_logging
from pysplitcodec.serve.mqtt import Broker
from pysplitcodec.serve.mqtt_server import serve_mqtt
from pysplitcodec.serve.serial_server import serve_serial
from pysplitcodec.serve.service import Service
from pysplitcodec.serve.sources import Loaded, PathLike, load
from pysplitcodec.serve.stream_server import serve_stream
from pysplitcodec.serve.tokens import Tokens

__all__ = ["serve"]

# Longer than the client keeps an idle connection, so that it never sends into a closing one.
_KEEP_ALIVE_S = 75

_log = logging.getLogger("pysplitcodec.serve")


def serve(
    sources: Sequence[PathLike],
    codecs: Sequence[Codec | PathLike] | None = None,
    *,
    device: DeviceProfile | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    name: str | None = None,
    limits: ServerLimits | None = None,
    threads: int = 1,
    tokens: PathLike | None = None,
    tls: tuple[PathLike, PathLike] | None = None,
    stream_port: int | None = None,
    serial: Sequence[str] = (),
    mqtt: str | None = None,
    mqtt_password: str | None = None,
    mqtt_ca: PathLike | None = None,
    json_logs: bool = False,
    announce: bool = False,
) -> None:
    """Serve tails and offers until SIGINT or SIGTERM; on SIGHUP, read all files again.

    sources, codecs, name, threads: see `load`.  port: 0 takes a free one.  device: see `Service`.
    tokens: a file of bearer tokens that clients need, see `splitcodec token`.  tls: paths of a
    certificate chain and its private key, in PEM.  json_logs: lines of JSON in the log.

    Links beside HTTP, docs/links.md: stream_port: on which packets over TCP, or TLS, are answered,
    on the same host; 0 takes a free one.  serial: ports, "/dev/ttyUSB0" or "/dev/ttyUSB0:921600".
    mqtt: a broker, mqtt://USER@HOST:PORT/PREFIX; mqtt_password, mqtt_ca: see `Broker.client`.

    Once requests are answered, a message goes to stderr and, with `announce`, one line of JSON,
    {"url": ..., "models": [...]}, and "stream_port" if there is one, to stdout.  What SIGHUP finds
    replaces what is served without a request being lost; if it will not do, the log says why and
    all stays as it was.

    Raises ModelError and ArgumentError for what cannot be served, OSError for files and serial
    ports that cannot be opened, ServerError if it cannot listen there, and MissingDependencyError
    where a link needs a package that is not there.
    """
    bounds = limits or ServerLimits()

    def read() -> Loaded:
        return load(sources, codecs, name=name, limits=bounds, threads=threads)

    def read_tokens() -> Tokens | None:
        return None if tokens is None else Tokens.load(tokens)

    service = Service(*read(), limits=bounds, device=device, tokens=read_tokens())
    config = uvicorn.Config(
        create_app(service),
        http=Connections.within(bounds.body_s),
        lifespan="off",  # the application has nothing to start, and it would log what links raise
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(bounds.stop_s)),
        ssl_certfile=None if tls is None else tls[0],
        ssl_keyfile=None if tls is None else tls[1],
    )
    try:
        config.load()
    except OSError as error:  # of which SSLError is one
        raise ArgumentError(f"tls is {tls}: expected a certificate and its key ({error})") from None
    listener = _listen(host, port)
    scheme = "http" if tls is None else "https"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    announced: dict[str, Any] = {"url": url, "models": [*service.offers, *service.models]}
    links: list[AbstractAsyncContextManager[None]] = []
    if stream_port is not None:
        stream = _listen(host, stream_port)
        announced["stream_port"] = stream.getsockname()[1]
        links.append(serve_stream(service, stream, config.ssl))
    links += [serve_serial(service, *parse_port(one)) for one in serial]
    if mqtt is not None:
        links.append(serve_mqtt(service, Broker.parse(mqtt), mqtt_password, mqtt_ca))
    set_up_logging(json_logs)

    async def reload() -> None:
        try:
            again = await asyncio.get_running_loop().run_in_executor(None, read)
            known = read_tokens()
            service.replace(*again)
            service.tokens = known
        except (SplitCodecError, OSError) as error:
            _log.error("nothing was read again, all stays as it was: %s", error)
        else:
            _log.warning("read again: serving %s", ", ".join(service.models))

    # uvicorn shuts down in order, and then raises the signal once more.
    with listener, contextlib.suppress(KeyboardInterrupt):
        started = partial(_announce, announced, announce)
        _Server(config, service, links, reload, started).run([listener])


class _Server(uvicorn.Server):
    """uvicorn's, with links beside HTTP, which reads what it serves again on SIGHUP."""

    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        links: Sequence[AbstractAsyncContextManager[None]],
        reload: Callable[[], Awaitable[None]],
        started: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._service, self._reload, self._started = service, reload, started
        self._links = [(AsyncExitStack(), link) for link in links]  # each, for they end together
        self._reloads: set[asyncio.Future[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._turn = asyncio.Lock()
        try:
            for stack, link in self._links:
                await stack.enter_async_context(link)
        except BaseException:
            await self._leave()
            raise
        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._begin_reload)
        self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.draining = True  # clients see it on every answer, and leave by themselves
        leaving = asyncio.create_task(self._leave())
        if self.server_state.connections:
            await asyncio.sleep(self._service.limits.drain_s)
        await asyncio.gather(super().shutdown(sockets), leaving)

    async def _leave(self) -> None:
        await asyncio.gather(*(stack.aclose() for stack, _ in self._links))

    def _begin_reload(self) -> None:
        task = asyncio.ensure_future(self._reload_in_turn())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reload_in_turn(self) -> None:
        async with self._turn:  # or what was read first could be what stays
            await self._reload()


def _announce(announced: Mapping[str, Any], as_json: bool) -> None:
    models = ", ".join(announced["models"])
    print(f"serving {models} at {announced['url']}", file=sys.stderr, flush=True)
    if as_json:
        print(json.dumps(announced), flush=True)


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port < 65536:
        raise ArgumentError(f"port is {port}: expected 0 to 65535")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise ServerError(f"cannot listen on {host}, port {port}: {error}") from None
    # asyncio sets TCP_NODELAY only on sockets whose protocol is given as TCP; without it each
    # answer waits 40 ms for a delayed acknowledgement.
    return socket.socket(family, listener.type, socket.IPPROTO_TCP, fileno=listener.detach())
