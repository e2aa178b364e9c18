"""`plan`: where to split a model for a device and a link, in how many bits, with which coder."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

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
    from pysplitcodec.plan import Choice
    from pysplitcodec.report.plan_report import Plan

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
    inferences: Annotated[
        Optional[float],
        typer.Option(help="Send the head's weights, too, once for so many inputs."),
    ] = None,
    max_drop: Annotated[
        Optional[float],
        typer.Option(help="Accuracy that may be lost, at most: a share such as 0.01."),
    ] = None,
    max_latency: Annotated[Optional[float], typer.Option(help="Seconds.")] = None,
    max_energy: Annotated[
        Optional[float], typer.Option(help="Joules of the device, for one input.")
    ] = None,
    max_bytes: Annotated[Optional[float], typer.Option(help="Of one input's payload.")] = None,
    per_joule: Annotated[
        float, typer.Option(help="Seconds that a joule of the device is worth.")
    ] = 0.0,
    per_price: Annotated[
        float, typer.Option(help="Seconds that one unit of the server's price is worth.")
    ] = 0.0,
    bits: Annotated[
        Optional[list[int]],
        typer.Option(min=1, max=8, help="Index width to try; repeatable. [1 2 4]"),
    ] = None,
    samples: Annotated[int, typer.Option(min=2, help="Most inputs to take.")] = 40,
    value_range: ValueRange = None,
    html: Annotated[Optional[Path], typer.Option(help="Write the plan as a page, too.")] = None,
    as_json: Json = False,
) -> None:
    """Say where to split a model for a device and a link, or that splitting does not pay."""
    from pysplitcodec.plan import Limits, Weights, best
    from pysplitcodec.report.plan_model import plan_model
    from pysplitcodec.report.plan_report import Question

    question = Question(
        named_device(device),
        named_link(link),
        None if server is None else named_device(server),
        inferences,
        Weights(per_j=per_joule, per_price=per_price),
        Limits(max_latency, max_energy, max_bytes, max_drop),
    )
    question.check()  # before what is slow
    taken = tried_inputs(model, inputs, samples, value_range, time=False) or []
    with progress_bars() as progress:
        found = plan_model(
            model,
            taken,
            question,
            bits=bits or [1, 2, 4],
            value_range=value_range,
            progress=progress,
        )
    if html:
        from pysplitcodec.report.plan_page import write_page

        write_page(found, html, command=shlex.join(["splitcodec", *sys.argv[1:]]))
    if as_json:
        print_json(found.to_dict())
    else:
        _print(found)
    if html:
        messages.print(f"wrote {html}", markup=False)
    best(found.found)  # or the reason why there is none


def _print(plan: "Plan") -> None:
    from pysplitcodec.report.plan_words import explain, rate, shortened

    for line in explain(plan):
        typer.echo(line)
    typer.echo()
    columns = ("split", "bits", "coder", "ms", "head", "coding", "link", "server", "weights")
    more = ("bytes", "drop") if plan.best else ("bytes", "drop", "why not")
    shown = [one for one in plan.best_of_each() if one.feasible or not plan.best][:_SHOWN]
    question = plan.question
    print_table(
        f"{plan.model} on {question.device.name} over {question.link.name}: the best first, one "
        "of each split point",
        columns + more,
        [
            (*_cells(one, shortened(one.candidate.name)), *(() if plan.best else (_why(one),)))
            for one in shown
        ],
    )
    print_table(
        "Over links of other rates",
        ("from", "to", "split", "bits", "coder"),
        [
            (
                rate(span.low),
                rate(span.high),
                *_cells(span.choice, shortened(span.choice.candidate.name))[:3],
            )
            for span in plan.spans
        ],
    )
    out = sum(not one.feasible for one in plan.found)
    if out:
        messages.print(f"{out} of {len(plan.found)} candidates do not keep the limits")
    for note in plan.notes:
        messages.print(note, markup=False)


def _why(one: "Choice") -> str:
    return "; ".join(one.why_not)


def _cells(one: "Choice", name: str) -> tuple[str, ...]:
    candidate, cost = one.candidate, one.cost
    parts = (cost.latency_s, cost.compute_s, cost.codec_s, cost.link_s, cost.server_s, cost.ship_s)
    return (
        name,
        str(candidate.bits or "-"),
        candidate.coder or "-",
        *(f"{1e3 * part:.2f}" for part in parts),
        f"{candidate.payload_bytes:.0f}",
        "-" if candidate.accuracy_drop is None else f"{candidate.accuracy_drop:.3f}",
    )
