"""`serve` and `token`: the server's end of the link."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from pysplitcodec.cli.output import (
    Json,
    print_json,
    reports_errors,
)
from pysplitcodec.cli.profiles import named_device
from pysplitcodec.errors import ArgumentError
from pysplitcodec.serve.limits import ServerLimits

__all__ = ["serve", "token"]

_LIMITS = ServerLimits()


@reports_errors
def serve(
    served: Annotated[
        list[Path],
        typer.Argument(
            exists=True,
            metavar="TAIL_OR_FOLDER...",
            help="Tails (.tflite, .onnx, .pt2), folders that `split` wrote, folders of offers.",
        ),
    ],
    codec: Annotated[
        Optional[list[Path]],
        typer.Option(exists=True, help="A codec of the only TAIL; repeatable. [codec.json there]"),
    ] = None,
    device: Annotated[
        Optional[str],
        typer.Option(help="This machine, as `plan --server`, for plans that are negotiated."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8000,
    name: Annotated[
        Optional[str], typer.Option(help="Name of the only TAIL in URLs. [the file's name]")
    ] = None,
    max_body: Annotated[
        int, typer.Option(min=1, help="Largest request body accepted, in bytes.")
    ] = _LIMITS.max_body,
    max_batch: Annotated[
        int, typer.Option(min=1, help="Most samples in one request.")
    ] = _LIMITS.max_batch,
    max_waiting: Annotated[
        int, typer.Option(min=1, help="Requests that may wait for one tail; further get a 503.")
    ] = _LIMITS.max_waiting,
    run: Annotated[
        int, typer.Option(min=1, help="Most samples of several requests that run together.")
    ] = _LIMITS.run,
    delay_ms: Annotated[
        float, typer.Option(min=0, help="How long a request waits for others to run with.")
    ] = 1e3 * _LIMITS.delay_s,
    stack: Annotated[
        bool, typer.Option("--stack", help="Run them in one call: last bits may differ.")
    ] = False,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads for one run of a tail.")] = 1,
    tokens: Annotated[
        Optional[Path],
        typer.Option(exists=True, dir_okay=False, help="Bearer tokens, as `token` writes them."),
    ] = None,
    tls_cert: Annotated[
        Optional[Path], typer.Option(exists=True, dir_okay=False, help="Certificate chain, PEM.")
    ] = None,
    tls_key: Annotated[
        Optional[Path], typer.Option(exists=True, dir_okay=False, help="Its private key, PEM.")
    ] = None,
    stream_port: Annotated[
        Optional[int],
        typer.Option(min=0, max=65535, help="Port for packets over TCP; 0 picks a free one."),
    ] = None,
    serial: Annotated[
        Optional[list[str]],
        typer.Option(metavar="PORT[:BAUD]", help="Serial port to serve; repeatable."),
    ] = None,
    mqtt: Annotated[
        Optional[str],
        typer.Option(
            metavar="URL", help="MQTT broker: mqtt://USER@HOST:PORT/PREFIX, HOST at least."
        ),
    ] = None,
    mqtt_password: Annotated[
        Optional[Path],
        typer.Option(exists=True, dir_okay=False, help="File that has USER's password."),
    ] = None,
    mqtt_ca: Annotated[
        Optional[Path],
        typer.Option(exists=True, dir_okay=False, help="Certificates to trust for mqtts://, PEM."),
    ] = None,
    json_logs: Annotated[
        bool, typer.Option("--json-logs", help="Log lines of JSON to stderr.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Serve tails over HTTP (Open Inference Protocol v2) and other links, until interrupted."""
    from pysplitcodec import serve as serving

    if (tls_cert is None) != (tls_key is None):
        raise ArgumentError("--tls-cert and --tls-key: expected both, or neither")
    serving.serve(
        served,
        codec,
        device=None if device is None else named_device(device),
        host=host,
        port=port,
        name=name,
        limits=ServerLimits(
            max_body=max_body,
            max_batch=max_batch,
            max_waiting=max_waiting,
            run=run,
            delay_s=delay_ms / 1e3,
            stack=stack,
        ),
        threads=threads,
        tokens=tokens,
        tls=None if tls_cert is None or tls_key is None else (tls_cert, tls_key),
        stream_port=stream_port,
        serial=serial or (),
        mqtt=mqtt,
        mqtt_password=None if mqtt_password is None else mqtt_password.read_text().rstrip("\r\n"),
        mqtt_ca=mqtt_ca,
        json_logs=json_logs,
        announce=as_json,
    )


@reports_errors
def token(
    name: Annotated[str, typer.Argument(help="Of the client; the log and metrics name it so.")],
    tokens: Annotated[
        Path, typer.Option(dir_okay=False, help="File to add its SHA-256 to, for `serve`.")
    ],
    days: Annotated[Optional[float], typer.Option(help="Until it expires. [never]")] = None,
    as_json: Json = False,
) -> None:
    """Make a bearer token for a client and print it; the server keeps only its SHA-256."""
    from pysplitcodec.serve.tokens import add_token

    made = add_token(tokens, name, days)
    if as_json:
        print_json({"name": name, "token": made})
    else:
        typer.echo(made)
