"""`profile`: what this machine takes for a model and for coding, for planning."""

import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.live import Live

from pysplitcodec.cli.output import Json, messages, print_json, print_table, reports_errors
from pysplitcodec.errors import ArgumentError

if TYPE_CHECKING:
    from pysplitcodec.plan import DeviceProfile, Link

__all__ = ["profile"]

_MOST_SECONDS = 3600


@reports_errors
def profile(
    models: Annotated[
        Optional[list[Path]], typer.Argument(exists=True, dir_okay=False, show_default=False)
    ] = None,
    output: Annotated[
        Optional[Path], typer.Option("--out", "-o", help="TOML file to write the profile to.")
    ] = None,
    name: Annotated[str, typer.Option(help="What to call this machine.")] = "this-machine",
    threads: Annotated[
        int, typer.Option(min=1, help="CPU threads for the models, or torch; coders take one.")
    ] = 1,
    seconds: Annotated[float, typer.Option(help="Time for each model and coder.")] = 1.0,
    listed: Annotated[
        bool, typer.Option("--list", help="List shipped devices and links with their sources.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure this machine: MODELS (.tflite, .onnx, .pt2) or convolutions, and each coder."""
    from pysplitcodec.plan import load_devices, load_links, save_devices

    if listed:
        if models or output:
            raise ArgumentError("--list is of what is shipped: expected no MODELS and no --out")
        _list(load_devices().values(), load_links().values(), as_json)
        return
    if not 0 <= seconds <= _MOST_SECONDS:  # a NaN is not
        raise ArgumentError(f"--seconds is {seconds}: expected 0 to {_MOST_SECONDS}")
    from pysplitcodec.bench.device import measure_device

    # drawn anew by hand: a thread that does would be measured, too
    with Live("measuring", console=messages, auto_refresh=False, transient=True) as line:
        found = measure_device(
            name,
            models or (),
            threads=threads,
            seconds=seconds,
            progress=lambda what: line.update(what, refresh=True),
        )
    if output:
        save_devices([found], output)
    if as_json:
        print_json({"name": found.name, **found.to_dict()})
    else:
        _print_device(found)
    if output:
        messages.print(f"wrote {output}", markup=False)


def _list(devices: "Iterable[DeviceProfile]", links: "Iterable[Link]", as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "devices": [{"name": one.name, **one.to_dict()} for one in devices],
                "links": [asdict(one) for one in links],
            }
        )
        return
    for device in devices:
        _print_device(device)
    for link in links:
        figures = {key: getattr(link, key) for key in link.sources}
        _print(link, ((key, _cell(v), link.sources[key]) for key, v in figures.items()))


def _print_device(device: "DeviceProfile") -> None:
    rows = []
    for key in device.sources:
        value, source = getattr(device, key), device.sources[key]
        if isinstance(value, dict):
            rows += [
                (f"{key} {coder}", _cell(ns), "the same" if i else source)
                for i, (coder, ns) in enumerate(value.items())
            ]
        else:
            rows.append((key, _cell(value), source))
    for time in device.model_times:
        rate = f"{_cell(time.seconds)} s, {time.macs_per_s / 1e9:.4g} GMAC/s"
        rows.append((f"{time.model}, {time.macs / 1e6:,.1f} M MACs", rate, time.source))
    _print(device, rows)


def _print(what: Any, rows: Iterable[tuple[str, str, str]]) -> None:
    title = f"{what.name}: {what.description}" if what.description else what.name
    print_table(title, ("figure", "value", "source"), rows)


def _cell(value: float) -> str:
    whole = float(value).is_integer() or not math.isfinite(value)
    return f"{value:,.0f}" if whole or value >= 1e5 else f"{value:.4g}"
