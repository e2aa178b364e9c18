"""`relay`: a slow link on one machine, between a client and a server."""

import contextlib
import json
import threading
from typing import Annotated

import typer

from pysplitcodec.cli.output import Json, messages, reports_errors
from pysplitcodec.cli.profiles import named_link
from pysplitcodec.errors import ArgumentError

__all__ = ["relay"]


@reports_errors
def relay(
    to: Annotated[
        str,
        typer.Argument(metavar="HOST:PORT", help="The server: a name or IPv4 address, its port."),
    ],
    link: Annotated[
        str, typer.Option(help="A name of `profile --list`, a TOML file, or bits a second.")
    ],
    jitter_ms: Annotated[
        float, typer.Option(min=0, help="What is sent arrives later by 0 to so many milliseconds.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of losses and jitter.")] = 0,
    as_json: Json = False,
) -> None:
    """Pass TCP connections on to HOST:PORT at the pace of a link, until interrupted."""
    from pysplitcodec.serve.relay import Relay

    host, port = _place(to)
    over = named_link(link)
    with (
        contextlib.suppress(KeyboardInterrupt),
        Relay(host, port, over, jitter_s=jitter_ms / 1e3, seed=seed) as running,
    ):
        messages.print(f"127.0.0.1:{running.port} is {host}:{port} over {over.name}", markup=False)
        if as_json:
            typer.echo(json.dumps({"port": running.port, "to": to, "link": over.name}))
        threading.Event().wait()


def _place(to: str) -> tuple[str, int]:
    host, _, port = to.rpartition(":")
    if not host or not port.isdecimal() or set(host) & set("/:[]"):
        raise ArgumentError(f"server is {to!r}: expected HOST:PORT, such as 127.0.0.1:8000")
    return host, int(port)
