"""`run` and `negotiate`: the edge's end of the link."""

import itertools
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional, Union

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
from pysplitcodec.cli.video import VIDEOS, video_frames
from pysplitcodec.errors import ArgumentError

if TYPE_CHECKING:
    import numpy.typing as npt

    from pysplitcodec.runtime import TensorInfo

__all__ = ["negotiate", "run"]

Token = Annotated[
    Optional[str],
    typer.Option(envvar="SPLITCODEC_TOKEN", help="Bearer token, if the server wants one."),
]
Ca = Annotated[
    Optional[Path],
    typer.Option(exists=True, dir_okay=False, help="Certificates to trust, in PEM. [the system's]"),
]


@reports_errors
def run(
    head: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A .tflite, .onnx or .pt2 model.")
    ],
    server: Annotated[
        str,
        typer.Option(
            help="http(s)://, tcp:// or tls://HOST:PORT, mqtt(s)://, or serial:PORT[:BAUD]."
        ),
    ],
    inputs: Annotated[
        Optional[list[Path]],
        typer.Option(
            "--input", exists=True, help=".npy, .npz, image, folder of images, video; repeatable."
        ),
    ] = None,
    camera: Annotated[
        Optional[int], typer.Option(min=0, help="Number of a camera, instead of --input.")
    ] = None,
    frames: Annotated[
        Optional[int], typer.Option(min=1, help="Stop after so many inputs. [no limit]")
    ] = None,
    codec: Annotated[
        Optional[Path], typer.Option(exists=True, help="Codec. [codec.json beside HEAD]")
    ] = None,
    model: Annotated[
        Optional[str], typer.Option(help="Model on the server. [its only one]")
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds that an answer may take, all tries together.")
    ] = 10.0,
    fallback: Annotated[
        Optional[str],
        typer.Option(
            help="Where the server fails or is late: a whole model to run, or skip. [an error]"
        ),
    ] = None,
    token: Token = None,
    ca: Ca = None,
    value_range: ValueRange = None,
    as_json: Json = False,
) -> None:
    """Run a head on inputs, send the features, and print what the tail answers.

    Head, codec and link work side by side. Of a camera, answers are printed as they come, with
    --json one object a line, until interrupted.
    """
    from pysplitcodec.runtime import open_model
    from pysplitcodec.serve import EdgeClient, TailClient
    from pysplitcodec.serve.link_url import transport_for

    if (camera is None) == (not inputs):
        raise ArgumentError("--input and --camera: expected one of them")
    path = codec or head.with_name("codec.json")
    if not path.is_file():
        raise ArgumentError(f"no codec: {path} does not exist; give one with --codec")
    runner = open_model(head)
    password = os.environ.get("SPLITCODEC_MQTT_PASSWORD")  # not for all who list processes
    link = transport_for(server, timeout_s=timeout, token=token, password=password, ca=ca)
    if fallback is None and server.startswith("http"):
        with TailClient(server, model, timeout, token=token, ca=ca) as tail:
            tail.metadata()  # whether it is there, before the edge waits for it to come
    places: deque[tuple[str, int]] = deque()

    def samples() -> "Iterator[npt.NDArray[Any]]":
        found = _samples(inputs or [camera or 0], runner.inputs[0], value_range)
        for source, number, sample in itertools.islice(found, frames):
            places.append((source, number))
            yield sample

    rows: list[dict[str, Any]] = []
    with EdgeClient(
        runner,
        Codec.load(path),
        link,
        model or "",
        timeout_s=timeout,
        fallback=_fallback(fallback),
    ) as edge:
        # Interrupting is how a camera ends.
        with suppress(*() if camera is None else (KeyboardInterrupt,)):
            for reply in edge.stream(samples()):
                row = _row(*places.popleft(), reply)
                if camera is None:
                    rows.append(row)
                else:
                    typer.echo(json.dumps(row) if as_json else _line(row))
        statistics = edge.statistics()
    if as_json and camera is None:
        print_json({"server": server, "rows": rows, "statistics": statistics})
    elif as_json:
        typer.echo(json.dumps({"statistics": statistics}))
    elif camera is None:
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
    token: Token = None,
    ca: Ca = None,
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
        token=token,
        ca=ca,
    ) as found:
        rows = []
        for source, number, sample in _samples(inputs, found.inputs[0], value_range):
            rows.append(_row(source, number, found.run(sample)))
    if as_json:
        about = {"plan": found.plan, "head_received_bytes": found.received_bytes}
        print_json({"server": server, **about, "rows": rows})
        return
    title = f"{fallback} in place of {model}" if found.plan is None else _plan_line(found.plan)
    _print_rows(title, rows)
    messages.print(f"head: {found.received_bytes} bytes received")


def _samples(
    sources: Iterable[Union[Path, int]],
    wanted: "TensorInfo",
    value_range: Optional[tuple[float, float]],
) -> "Iterator[tuple[str, int, npt.NDArray[Any]]]":
    """All samples of files and cameras, each with its source and its number there."""
    for source in sources:
        if isinstance(source, int) or source.suffix.lower() in VIDEOS:
            found: Iterable[Any] = video_frames(source, wanted, value_range)
        else:
            found = load_inputs(source, wanted, value_range)
        for number, sample in enumerate(found):
            yield str(source), number, sample


def _fallback(given: Optional[str]) -> Any:
    from pysplitcodec.runtime import open_model

    return given if given in (None, "skip") else open_model(given)


def _line(row: dict[str, Any]) -> str:
    """An answer, for people who watch."""
    if "top" not in row:
        return f"{row['number']}  skipped: {row['fallback']}"
    took = f"{row['roundtrip_ms']} ms" if "roundtrip_ms" in row else f"here: {row['fallback']}"
    return f"{row['number']}  {row['top']}  {row['score']}  {took}"


def _plan_line(plan: dict[str, Any]) -> str:
    return (
        f"split at {plan['split']}, {plan['feature_bits']} bits, {1e3 * plan['latency_s']:.2f} ms "
        f"expected, drop {plan['accuracy_drop']:.4f}"
    )


def _print_rows(title: str, rows: list[dict[str, Any]]) -> None:
    shown = ("input", "number", "top", "score", "payload_bytes", "head_us", "roundtrip_ms")
    print_table(title, shown, ([row.get(name, "-") for name in shown] for row in rows))
    messages.print(f"{len(rows)} input(s)")


def _row(source: str, number: int, reply: Any) -> dict[str, Any]:
    """Of one input."""
    row: dict[str, Any] = {"input": source, "number": number, "fallback": reply.fallback}
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
