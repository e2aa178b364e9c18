"""`serve`, `run` and `negotiate`: the two ends of the link."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import numpy as np
import typer

from pysplitcodec import Codec
from pysplitcodec.cli.arrays import load_inputs
from pysplitcodec.cli.output import (
    Json,
    ValueRange,
    messages,
    print_json,
    print_table,
    reports_errors,
)
from pysplitcodec.cli.profiles import named_device, named_link
from pysplitcodec.errors import ArgumentError
from pysplitcodec.serve.limits import ServerLimits

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from pysplitcodec.runtime import TensorInfo

__all__ = ["negotiate", "run", "serve", "token"]

_LIMITS = ServerLimits()


def _beside(model: Path) -> Path:
    return model.with_name("codec.json")


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
    json_logs: Annotated[
        bool, typer.Option("--json-logs", help="Log lines of JSON to stderr.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Serve tails over HTTP (Open Inference Protocol v2), and offers, until interrupted."""
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


@reports_errors
def run(
    head: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A .tflite, .onnx or .pt2 model.")
    ],
    server: Annotated[str, typer.Option(help="URL of the tail server.")],
    inputs: Annotated[
        list[Path],
        typer.Option("--input", exists=True, help=".npy, .npz or image file; repeatable."),
    ],
    codec: Annotated[
        Optional[Path], typer.Option(exists=True, help="Codec. [codec.json beside HEAD]")
    ] = None,
    model: Annotated[
        Optional[str], typer.Option(help="Model on the server. [its only one]")
    ] = None,
    value_range: ValueRange = None,
    as_json: Json = False,
) -> None:
    """Run a head on inputs, send the features, and print what the tail answers."""
    from pysplitcodec.runtime import open_model
    from pysplitcodec.serve import EdgeClient, HttpTransport, TailClient

    path = codec or _beside(head)
    if not path.is_file():
        raise ArgumentError(f"no codec: {path} does not exist; give one with --codec")
    runner = open_model(head)
    with TailClient(server, model) as tail:
        tail.metadata()  # whether it is there, before the edge waits for it to come
    with EdgeClient(runner, Codec.load(path), HttpTransport(server), model or "") as edge:
        rows = []
        for file, number, sample in _samples(inputs, runner.inputs[0], value_range):
            rows.append(_row(file, number, edge.run(sample)))
    if as_json:
        print_json({"server": server, "rows": rows})
        return
    _print_rows(str(head), rows)


@reports_errors
def negotiate(
    model: Annotated[str, typer.Argument(help="Name of the model on the server.")],
    server: Annotated[str, typer.Option(help="URL of a server that has offers.")],
    device: Annotated[str, typer.Option(help="A name of `profile --list`, or a TOML file.")],
    link: Annotated[
        str, typer.Option(help="A name of `profile --list`, a TOML file, or bits a second.")
    ],
    max_drop: Annotated[float, typer.Option(help="Accuracy that may be lost: a share.")],
    cache: Annotated[
        Path, typer.Option(file_okay=False, help="Folder for heads, which are not sent again.")
    ],
    inputs: Annotated[
        list[Path],
        typer.Option("--input", exists=True, help=".npy, .npz or image file; repeatable."),
    ],
    inferences: Annotated[
        float, typer.Option(help="For how many inputs the head is sent once.")
    ] = 1.0,
    fallback: Annotated[
        Optional[Path],
        typer.Option(
            exists=True, dir_okay=False, help="Whole model to run where the server fails."
        ),
    ] = None,
    value_range: ValueRange = None,
    as_json: Json = False,
) -> None:
    """Have a server plan the split and send the head; run inputs, and print the answers."""
    from pysplitcodec import serve as serving
    from pysplitcodec.runtime import open_model

    with serving.negotiate(
        server,
        model,
        cache,
        max_accuracy_drop=max_drop,
        device=named_device(device),
        link=named_link(link),
        inferences=inferences,
        fallback=None if fallback is None else open_model(fallback),
    ) as found:
        rows = []
        for file, number, sample in _samples(inputs, found.inputs[0], value_range):
            rows.append(_row(file, number, found.run(sample)))
    if as_json:
        about = {"plan": found.plan, "head_received_bytes": found.received_bytes}
        print_json({"server": server, **about, "rows": rows})
        return
    title = f"{fallback} in place of {model}" if found.plan is None else _plan_line(found.plan)
    _print_rows(title, rows)
    messages.print(f"head: {found.received_bytes} bytes received")


def _samples(
    files: list[Path], wanted: "TensorInfo", value_range: Optional[tuple[float, float]]
) -> "Iterator[tuple[Path, int, npt.NDArray[Any]]]":
    """All samples of all files, each with its file and its number there."""
    for file in files:
        for number, sample in enumerate(load_inputs(file, wanted, value_range)):
            yield file, number, sample


def _plan_line(plan: dict[str, Any]) -> str:
    return (
        f"split at {plan['split']}, {plan['feature_bits']} bits, {1e3 * plan['latency_s']:.2f} ms "
        f"expected, drop {plan['accuracy_drop']:.4f}"
    )


def _print_rows(title: str, rows: list[dict[str, Any]]) -> None:
    shown = ("input", "number", "top", "score", "payload_bytes", "head_us", "roundtrip_ms")
    print_table(title, shown, ([row.get(name, "-") for name in shown] for row in rows))
    messages.print(f"{len(rows)} input(s)")


def _row(file: Path, number: int, reply: Any) -> dict[str, Any]:
    """Of one input."""
    row: dict[str, Any] = {"input": str(file), "number": number, "fallback": reply.fallback}
    for output in list(reply.outputs.values())[:1]:
        top = int(np.argmax(output))
        row.update(top=top, score=round(float(output.reshape(-1)[top]), 4))
    if reply.frame_len:
        row.update(_took(reply))
    return {**row, "outputs": {key: value.tolist() for key, value in reply.outputs.items()}}


def _took(reply: Any) -> dict[str, Any]:
    return {
        "payload_bytes": reply.payload_len,
        "frame_bytes": reply.frame_len,
        "head_us": round(reply.head_s * 1e6, 1),
        "encode_us": round(reply.encode_s * 1e6, 1),
        "decode_us": round(reply.decode_s * 1e6, 1),
        "tail_us": round(reply.tail_s * 1e6, 1),
        "roundtrip_ms": round(reply.roundtrip_s * 1e3, 3),
    }
