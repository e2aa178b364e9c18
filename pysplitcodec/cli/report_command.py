"""`report`: trainings of split models, compared."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from pysplitcodec.cli.output import Json, messages, print_json, print_table, reports_errors

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
        typer.Option("-o", "--out", file_okay=False, help="Write tables, pictures and page here."),
    ] = None,
    coder: Annotated[str, typer.Option(help="Whose bytes are compared.")] = "context",
    as_json: Json = False,
) -> None:
    """Compare trainings: accuracy, coded bytes and latency of methods at split points."""
    from pysplitcodec.report.run_tables import markdown, origin_table, result_tables
    from pysplitcodec.report.runs import read_rows, write_rows

    rows = read_rows(runs)
    tables = result_tables(rows, coder)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        write_rows(rows, out / "rows.json")
        text = markdown([*tables, origin_table(rows)])
        (out / "tables.md").write_text(text, encoding="utf-8")
        messages.print(f"wrote {out}", markup=False)
    if as_json:
        print_json({"coder": coder, "rows": rows})
        return
    for table in tables:
        notes = "".join(f"\n{note}" for note in table.notes)
        print_table(table.title + notes, table.columns, table.rows)
