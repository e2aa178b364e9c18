"""What the commands share: options, where output goes, and how errors become exit codes."""

import functools
import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Callable, Optional, TypeVar

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from pysplitcodec.errors import (
    CoderUnavailableError,
    FirmwareError,
    MissingDependencyError,
    ServerError,
    SplitCodecError,
)

__all__ = [
    "EXIT_CODES",
    "Json",
    "ValueRange",
    "messages",
    "print_json",
    "print_table",
    "reports_errors",
]

EXIT_CODES = (
    "Exit codes: 0 success, 1 a bug in splitcodec, 2 wrong usage, 3 bad input (a file, frame, "
    "feature or model), 4 something is not installed, 5 the server refused or is not there, "
    "6 firmware cannot be built, fails or does not answer."
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
ValueRange = Annotated[
    Optional[tuple[float, float]],
    typer.Option(help="What pixel values 0 and 255 mean to the model. [0 1]"),
]

messages = Console(stderr=True, highlight=False, soft_wrap=True)
_stdout = Console(highlight=False)
if not _stdout.is_terminal:
    _stdout.width = 160  # a file has no edge to wrap at

_Command = TypeVar("_Command", bound=Callable[..., Any])


def print_json(data: Any) -> None:
    """Print `data` as JSON, bare of any decoration."""
    typer.echo(json.dumps(data, indent=1))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table for people."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    cells = [[str(cell) for cell in row] for row in rows]
    for i, column in enumerate(columns):
        numbers = all(row[i].replace(".", "", 1).lstrip("-").isdigit() for row in cells)
        table.add_column(column, justify="right" if numbers else "left")
    for row in cells:
        table.add_row(*row)
    _stdout.print(table)


def reports_errors(command: _Command) -> _Command:
    """Print expected errors as one message and leave with the exit code that fits."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (SplitCodecError, OSError) as error:
            messages.print(f"[red]error:[/red] {type(error).__name__}:", end=" ")
            messages.print(str(error), markup=False)
            raise typer.Exit(_exit_code(error)) from None

    return wrapped  # type: ignore[return-value]


def _exit_code(error: Exception) -> int:
    if isinstance(error, (MissingDependencyError, CoderUnavailableError)):
        return 4
    if isinstance(error, FirmwareError):
        return 6
    return 5 if isinstance(error, ServerError) else 3
