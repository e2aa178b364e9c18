"""Writing a program to a board."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from pysplitcodec.errors import FirmwareError
from pysplitcodec.firmware.boards import Board
from pysplitcodec.firmware.build import need_tool

__all__ = ["flash", "flash_command"]


def flash_command(board: Board, program: Path) -> list[str]:
    """Return the command that writes an ELF file to the board; its tool may be absent.

    Raises FirmwareError for boards that exist in emulation alone.
    """
    if not board.flash:
        raise FirmwareError(f"board {board.name} cannot be flashed: it is an emulator's")
    return [word.format(elf=program) for word in board.flash]


def flash(board: Board, program: Path) -> None:
    """Run that command.

    Raises MissingDependencyError without the tool, FirmwareError if it fails.
    """
    command = flash_command(board, program)
    need_tool(command[0])
    if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode:
        raise FirmwareError(f"{shlex.join(command)} failed")
