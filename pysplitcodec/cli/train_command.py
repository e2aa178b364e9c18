"""`train`: recipes carried out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pysplitcodec.cli.output import Json, messages, print_json, print_table, reports_errors

__all__ = ["train"]


@reports_errors
def train(
    recipe: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="What to train, in TOML.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where each run gets a folder of its own.")
    ] = Path("runs"),
    halves: Annotated[
        Optional[bool],
        typer.Option(
            "--halves/--no-halves",
            help="Write head.pt2, tail.pt2 and codec.json, ready to run. [unless there is a grid]",
        ),
    ] = None,
    threads: Annotated[
        Optional[int], typer.Option(min=1, help="Threads of the processor. [torch's choice]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a split model, or all those of a grid; go on where an earlier call was interrupted."""
    from pysplitcodec.train import train_all

    with _progress() as progress:
        bars: dict[str, Any] = {}

        def report(stage: str, done: int, steps: int, terms: Mapping[str, float]) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task("", total=steps)
            text = f"{stage}: " + ", ".join(f"{k} {v:.3f}" for k, v in terms.items())
            progress.update(bars[stage], completed=done, total=steps, description=text)
            if done == steps:  # stays, also where no bar can be drawn
                progress.console.print(f"  {text}")

        def begin(run: str) -> None:
            for bar in bars.values():
                progress.remove_task(bar)
            bars.clear()
            progress.console.print(run)

        runs = train_all(
            recipe, output, halves=halves, threads=threads, begin=begin, progress=report
        )
    if as_json:
        print_json({"runs": runs})
        return
    print_table("", _COLUMNS, [_row(name, run) for name, run in runs.items()])


_COLUMNS = ("run", "metric", "whole", "float", "quantised", "retrained", "lzma", "context", "jpeg")


def _row(name: str, run: Mapping[str, Any]) -> list[str]:
    metric = run["metrics"][0]
    measured = [run[at] for at in ("whole", "float", "quantized", "retrained")]
    values = ["" if one is None else f"{one[metric]:.4f}" for one in measured]
    sizes = [run["bytes"].get(coder) for coder in ("lzma", "context", "jpeg")]
    return [name, metric, *values, *("" if size is None else f"{size:.1f}" for size in sizes)]


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=messages,
        transient=True,
    )
