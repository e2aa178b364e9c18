"""The command `splitcodec`.

Data goes to stdout, progress and messages to stderr.  Exit codes: see `EXIT_CODES`.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    try:
        import rich  # noqa: F401  (asked for here so that the message below is one)
        import typer  # noqa: F401
    except ImportError as error:
        print(
            f"splitcodec: {error.name} is not installed: pip install 'pysplitcodec[cli]'",
            file=sys.stderr,
        )
        sys.exit(4)
    from pysplitcodec.cli.app import app

    app()
