"""`demo`: the main job on an embedded default."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pysplitcodec.cli.output import Json, messages, print_json, print_table, reports_errors
from pysplitcodec.errors import MissingDependencyError

if TYPE_CHECKING:
    from pysplitcodec.demo import Row

__all__ = ["demo"]


@reports_errors
def demo(
    output: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for demo.json and demo.png.")
    ] = Path("splitcodec-demo"),
    at: Annotated[
        Optional[str], typer.Option(help="Another split point. [the recommended one]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Split a digits network and run its test set through head, codec, socket and tail."""
    from pysplitcodec import demo as job

    digits = job.load_digits()
    with messages.status("splitting and fitting codebooks") as status:
        rows = job.run(
            digits,
            at=int(at) if at and at.isdecimal() else at,
            progress=lambda setting: status.update(f"{len(digits.images)} images at {setting}"),
        )
    output.mkdir(parents=True, exist_ok=True)
    result = job.as_json(rows)
    (output / "demo.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    written = [output / "demo.json"]
    try:
        job.draw(rows, output / "demo.png")
        written.append(output / "demo.png")
    except MissingDependencyError as error:
        messages.print(f"no picture: {error}", markup=False)
    if as_json:
        print_json(result)
        return
    first = rows[0]
    print_table(
        f"{len(digits.images)} test images, unsplit accuracy {100 * first.accuracy_whole:.2f} %. "
        f"Mean bytes: input as PNG {first.png_bytes_mean:.0f}, as JPEG "
        f"{first.jpeg_bytes_mean:.0f}; feature as float32 {first.float32_bytes}.\n"
        "Times: medians; link is the round trip less decode and tail.",
        _COLUMNS,
        (_cells(row) for row in rows),
    )
    messages.print(f"wrote {', '.join(map(str, written))}")


_COLUMNS = (
    *("bits", "coder", "payload\nbytes", "float32\n/ ours", "PNG\n/ ours", "JPEG\n/ ours"),
    *("accuracy\n%", "head\nus", "encode\nus", "link\nms", "decode\nus", "tail\nus"),
    *("round\ntrip ms", "p95\nms"),
)


def _cells(row: "Row") -> tuple[str, ...]:
    return (
        str(row.bits),
        row.coder,
        f"{row.payload_bytes_mean:.1f}",
        f"{row.ratio_float32:.1f}",
        f"{row.ratio_png:.1f}",
        f"{row.ratio_jpeg:.1f}",
        f"{100 * row.accuracy:.2f}",
        f"{row.head_us:.0f}",
        f"{row.encode_us:.1f}",
        f"{row.link_ms_p50:.2f}",
        f"{row.decode_us:.1f}",
        f"{row.tail_us:.0f}",
        f"{row.roundtrip_ms_p50:.2f}",
        f"{row.roundtrip_ms_p95:.2f}",
    )
