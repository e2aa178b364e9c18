"""`plan`: where to split a model for a device and a link, in how many bits, with which coder."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from pysplitcodec.cli.inspect_command import progress_bars, tried_inputs
from pysplitcodec.cli.output import (
    Json,
    ValueRange,
    messages,
    print_json,
    print_table,
    reports_errors,
)
from pysplitcodec.cli.profiles import named_device, named_link

if TYPE_CHECKING:
    from pysplitcodec.plan import Choice, Span

__all__ = ["plan"]

_SHOWN = 5


@reports_errors
def plan(
    model: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="What to split.")],
    inputs: Annotated[
        list[Path],
        typer.Option(
            "--input",
            exists=True,
            help="Real inputs: .npy, .npz, an image or a folder of them; repeatable.",
        ),
    ],
    device: Annotated[str, typer.Option(help="A name of `profile --list`, or a TOML file.")],
    link: Annotated[
        str, typer.Option(help="A name of `profile --list`, a TOML file, or bits a second.")
    ],
    server: Annotated[
        Optional[str], typer.Option(help="As --device; without it the tail takes no time.")
    ] = None,
    max_drop: Annotated[
        Optional[float],
        typer.Option(help="Accuracy that may be lost, at most: a share such as 0.01."),
    ] = None,
    max_latency: Annotated[Optional[float], typer.Option(help="Seconds.")] = None,
    max_bytes: Annotated[Optional[float], typer.Option(help="Of one input's payload.")] = None,
    per_joule: Annotated[
        float, typer.Option(help="Seconds that a joule of the device is worth.")
    ] = 0.0,
    bits: Annotated[
        Optional[list[int]],
        typer.Option(min=1, max=8, help="Index width to try; repeatable. [1 2 4]"),
    ] = None,
    samples: Annotated[int, typer.Option(min=2, help="Most inputs to take.")] = 40,
    value_range: ValueRange = None,
    as_json: Json = False,
) -> None:
    """Say where to split a model for a device and a link, or that splitting does not pay."""
    from pysplitcodec.plan import Limits, Weights, best, break_even, choices
    from pysplitcodec.report import layer_report
    from pysplitcodec.report.candidates import candidates, changed_answers
    from pysplitcodec.splitting import read_graph

    edge, channel = named_device(device), named_link(link)
    far = None if server is None else named_device(server)
    for one in (edge, far):
        if one is not None:
            one.compute_s(0)  # says so, before what is slow, if its speed is not known
    weights = Weights(per_j=per_joule)
    limits = Limits(max_latency, None, max_bytes, max_drop)
    taken = tried_inputs(model, inputs, samples, value_range, time=False) or []
    with progress_bars() as progress:
        report = layer_report(model, taken, bits=bits or [1, 2, 4], time=False, progress=progress)
        changes = None
        if max_drop is not None:
            changes = changed_answers(
                read_graph(model), report, taken[len(taken) // 2 :], progress=progress
            )
    given = candidates(report, edge, changes)
    settings: dict[str, Any] = {"server": far, "weights": weights, "limits": limits}
    found = choices(given, edge, channel, **settings)
    spans = break_even(given, edge, channel, **settings)
    if as_json:
        print_json(
            {
                "model": str(model),
                "device": edge.name,
                "link": channel.name,
                "best": _row(found[0]) if found[0].feasible else None,
                "candidates": [_row(one) for one in found],
                "by_bits_per_s": [
                    {"from": span.low, "to": _finite(span.high), "best": _row(span.choice)}
                    for span in spans
                ],
            }
        )
    else:
        _print(found, spans, f"{model} on {edge.name} over {channel.name}")
    best(found)  # or the reason why there is none


def _row(one: "Choice") -> dict[str, Any]:
    cost = one.cost
    return {
        **asdict(one.candidate),
        **asdict(cost),
        "latency_s": cost.latency_s,
        "energy_j": cost.energy_j,
        "frames_per_s": _finite(cost.frames_per_s),
        "objective": one.objective,
        "feasible": one.feasible,
        "why_not": list(one.why_not),
    }


def _finite(value: float) -> Optional[float]:
    """As JSON, which has no infinity."""
    return value if math.isfinite(value) else None


def _print(found: "list[Choice]", spans: "list[Span]", title: str) -> None:
    columns = ("split", "bits", "coder", "ms", "head", "coding", "link", "server", "bytes", "drop")
    shown: list[Choice] = []
    seen: set[str] = set()
    for one in found:  # the best of each split point
        if one.feasible and one.candidate.name not in seen and len(shown) < _SHOWN:
            seen.add(one.candidate.name)
            shown.append(one)
    rows = [_cells(one) for one in shown]
    print_table(f"{title}: the best first, one of each split point", columns, rows)
    lines = (
        (f"{_rate(span.low)} to {_rate(span.high)}", *_cells(span.choice)[:3]) for span in spans
    )
    print_table("Over links of other rates", ("bit/s", "split", "bits", "coder"), lines)
    out = sum(not one.feasible for one in found)
    if out:
        messages.print(f"{out} of {len(found)} candidates do not keep the limits", markup=False)


def _cells(one: "Choice") -> tuple[str, ...]:
    candidate, cost = one.candidate, one.cost
    parts = (cost.latency_s, cost.compute_s, cost.codec_s, cost.link_s, cost.server_s)
    return (
        candidate.name,
        str(candidate.bits or "-"),
        candidate.coder or "-",
        *(f"{1e3 * part:.2f}" for part in parts),
        f"{candidate.payload_bytes:.0f}",
        "-" if candidate.accuracy_drop is None else f"{candidate.accuracy_drop:.3f}",
    )


def _rate(bits_per_s: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if size <= bits_per_s < float("inf"):
            return f"{bits_per_s / size:.3g} {unit}"
    return f"{bits_per_s:.3g}"
