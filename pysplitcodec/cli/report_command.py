"""`report`: trainings of split models, compared."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pysplitcodec.cli.output import Json, messages, print_json, print_table, reports_errors
from pysplitcodec.cli.profiles import named_device
from pysplitcodec.errors import ArgumentError

if TYPE_CHECKING:
    from pysplitcodec.report.run_latency import Latencies
    from pysplitcodec.report.run_schema import Row

__all__ = ["report"]


@reports_errors
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            exists=True,
            help="Folders of runs, run.json files, or a rows.json that this command wrote.",
        ),
    ],
    out: Annotated[
        Optional[Path],
        typer.Option("-o", "--out", file_okay=False, help="Write rows, tables, pictures and page."),
    ] = None,
    coder: Annotated[str, typer.Option(help="Whose bytes are compared.")] = "context",
    device: Annotated[
        str,
        typer.Option(help="Whose latency it is: a name of `profile --list`, or a TOML file."),
    ] = "raspberry-pi-4",
    as_json: Json = False,
) -> None:
    """Compare trainings: accuracy, coded bytes and latency of methods at split points."""
    from pysplitcodec.report.run_latency import RATES, Latencies
    from pysplitcodec.report.run_tables import result_tables, speed_tables
    from pysplitcodec.report.runs import coders, read_rows

    rows = read_rows(runs)
    known = coders(rows)
    if known and coder not in known:
        raise ArgumentError(f"--coder is {coder!r}: the runs have {', '.join(known)}")
    latencies = Latencies(named_device(device))
    if out:
        _write(rows, latencies, coder, out)
    if as_json:
        print_json(
            {
                "coder": coder,
                "device": latencies.device.name,
                "rows": [
                    {
                        **row,
                        "latency_s": {
                            str(rate): latencies.of(row, coder, rate).latency_s for rate in RATES
                        },
                    }
                    for row in rows
                ],
            }
        )
    else:
        for table in (
            *result_tables(rows, coder),
            *speed_tables(rows, latencies, coder, RATES[0]),
        ):
            notes = "".join(f"\n{note}" for note in table.notes)
            print_table(table.title + notes, table.columns, table.rows)
    if out:
        messages.print(f"wrote {out}", markup=False)


def _write(rows: "list[Row]", latencies: "Latencies", coder: str, out: Path) -> None:
    from pysplitcodec.report.run_latency import RATES
    from pysplitcodec.report.run_page import write_page
    from pysplitcodec.report.run_pictures import draw_pictures
    from pysplitcodec.report.run_tables import markdown, origin_table, result_tables, speed_tables
    from pysplitcodec.report.runs import write_rows

    out.mkdir(parents=True, exist_ok=True)
    write_rows(rows, out / "rows.json")
    tables = result_tables(rows, coder)
    for rate in RATES:
        tables += speed_tables(rows, latencies, coder, rate)
    text = markdown([*tables, origin_table(rows)])
    (out / "tables.md").write_text(text, encoding="utf-8")
    write_page(rows, latencies, coder, out / "page.html")
    draw_pictures(rows, latencies, coder, out)
