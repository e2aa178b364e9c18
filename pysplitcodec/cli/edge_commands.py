"""`serve` and `run`: the two ends of the link."""

from pathlib import Path
from typing import Annotated, Any, Optional

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
from pysplitcodec.errors import ArgumentError

__all__ = ["run", "serve"]


def _beside(model: Path) -> Path:
    return model.with_name("codec.json")


@reports_errors
def serve(
    tail: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A .tflite, .onnx or .pt2 model.")
    ],
    codec: Annotated[
        Optional[list[Path]],
        typer.Option(exists=True, help="A codec to accept; repeatable. [codec.json beside TAIL]"),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8000,
    name: Annotated[
        Optional[str], typer.Option(help="Name of the model in URLs. [the file's name]")
    ] = None,
    max_body: Annotated[
        int, typer.Option(min=1, help="Largest request body accepted, in bytes.")
    ] = 16 << 20,
    max_batch: Annotated[int, typer.Option(min=1, help="Most samples in one request.")] = 64,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads for one run of the tail.")] = 1,
    as_json: Json = False,
) -> None:
    """Serve a tail over HTTP (Open Inference Protocol v2) until interrupted."""
    from pysplitcodec.serve import server

    paths = codec or [path for path in [_beside(tail)] if path.is_file()]
    server.serve(
        tail,
        codecs=[Codec.load(path) for path in paths],
        host=host,
        port=port,
        name=name,
        max_body=max_body,
        max_batch=max_batch,
        threads=threads,
        announce=as_json,
    )


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
    from pysplitcodec.serve.client import EdgeClient, TailClient

    path = codec or _beside(head)
    if not path.is_file():
        raise ArgumentError(f"no codec: {path} does not exist; give one with --codec")
    runner = open_model(head)
    with TailClient(server, model) as tail:
        edge = EdgeClient(runner, Codec.load(path), tail)
        rows = [
            _row(file, number, edge.run(sample))
            for file in inputs
            for number, sample in enumerate(load_inputs(file, runner.inputs[0], value_range))
        ]
    if as_json:
        print_json({"server": server, "rows": rows})
        return
    shown = ("input", "number", "top", "score", "payload_bytes", "head_us", "roundtrip_ms")
    print_table(str(head), shown, ([row[name] for name in shown] for row in rows))
    messages.print(f"{len(rows)} input(s)")


def _row(file: Path, number: int, reply: Any) -> dict[str, Any]:
    first = next(iter(reply.outputs.values())).reshape(-1)
    top = int(np.argmax(first))
    return {
        "input": str(file),
        "number": number,
        "top": top,
        "score": round(float(first[top]), 4),
        "payload_bytes": reply.payload_len,
        "frame_bytes": reply.frame_len,
        "head_us": round(reply.head_s * 1e6, 1),
        "encode_us": round(reply.encode_s * 1e6, 1),
        "decode_us": round(reply.tail.decode_s * 1e6, 1),
        "tail_us": round(reply.tail.tail_s * 1e6, 1),
        "roundtrip_ms": round(reply.tail.roundtrip_s * 1e3, 3),
        "outputs": {key: value.tolist() for key, value in reply.outputs.items()},
    }
