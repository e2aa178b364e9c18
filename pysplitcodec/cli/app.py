"""The command tree."""

from typing import Annotated

import typer

import pysplitcodec
from pysplitcodec.cli import (
    bench_commands,
    codec_commands,
    demo_command,
    edge_commands,
    export_command,
    firmware_commands,
    inspect_command,
    model_commands,
    plan_command,
    profile_command,
    relay_command,
    report_command,
    run_command,
    train_command,
)
from pysplitcodec.cli.output import EXIT_CODES

__all__ = ["app"]

app = typer.Typer(
    name="splitcodec",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"splitcodec {pysplitcodec.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Quantise, code and send the feature at a network's split point."""


app.command("demo")(demo_command.demo)
app.command("encode")(codec_commands.encode)
app.command("decode")(codec_commands.decode)
app.command("inspect")(inspect_command.inspect)
app.command("export")(export_command.export)
app.command("split")(model_commands.split)
app.command("train")(train_command.train)
app.command("serve")(edge_commands.serve)
app.command("token")(edge_commands.token)
app.command("run")(run_command.run)
app.command("negotiate")(run_command.negotiate)
app.command("plan")(plan_command.plan)
app.command("profile")(profile_command.profile)
app.command("relay")(relay_command.relay)
app.command("report")(report_command.report)
app.command("info")(bench_commands.info)
app.add_typer(bench_commands.bench, name="bench")
app.add_typer(firmware_commands.firmware, name="firmware")
