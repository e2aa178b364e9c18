"""A link by its URL, as commands take it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pysplitcodec.errors import ArgumentError
from pysplitcodec.serve.protocol import shown

if TYPE_CHECKING:
    import os

    from pysplitcodec.serve.transport import Transport

__all__ = ["transport_for"]


def transport_for(
    url: str,
    *,
    timeout_s: float = 10.0,
    token: str | None = None,
    password: str | None = None,
    ca: str | os.PathLike[str] | None = None,
) -> Transport:
    """Return the transport to a server.

    url: http://, https://, tcp://HOST:PORT, tls://HOST:PORT, mqtt://, mqtts:// or
    serial:PORT[:BAUD].  password: of the user in an mqtt URL.  timeout_s, token, ca: as of each.
    Raises ArgumentError for others, and what the transports raise.
    """
    kind, _, rest = url.partition(":")
    if kind in ("http", "https"):
        from pysplitcodec.serve.http_link import HttpTransport

        return HttpTransport(url, timeout_s=timeout_s, token=token, ca=ca)
    if kind in ("mqtt", "mqtts"):
        from pysplitcodec.serve.mqtt_link import MqttTransport

        return MqttTransport(url, timeout_s=timeout_s, password=password, token=token, ca=ca)
    if kind == "serial":
        from pysplitcodec.serial_packets import parse_port
        from pysplitcodec.serve.serial_link import SerialTransport

        return SerialTransport(*parse_port(rest), timeout_s=timeout_s)
    place = _place(url)
    if kind in ("tcp", "tls") and place is not None:
        from pysplitcodec.serve.stream_link import StreamTransport

        tls = None if kind == "tcp" else ssl.create_default_context(cafile=ca)
        return StreamTransport(*place, timeout_s=timeout_s, token=token, tls=tls)
    raise ArgumentError(
        f"the server is {shown(url)}: expected http://, https://, mqtt:// or mqtts://, "
        "tcp://HOST:PORT, tls://HOST:PORT, or serial:PORT[:BAUD]"
    )


def _place(url: str) -> tuple[str, int] | None:
    try:
        found = urlsplit(url)
        return None if found.hostname is None or not found.port else (found.hostname, found.port)
    except ValueError:
        return None
