"""The boards that firmware is made for: firmware/boards.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pysplitcodec.errors import ArgumentError, FirmwareError

__all__ = ["Board", "LinkKind", "board_named", "boards", "source_folder"]


LinkKind = Literal["uart", "semihosting"]


@dataclass(frozen=True)
class Board:
    """One entry of boards.json.

    flags: the compiler's; cores: of its cluster, 0 if it has none; clock_hz: what `port_cycles`
    counts, in emulation; emulator: the command that runs its programs, without the program, or
    empty; flash: the command that writes one to the board, with {elf} in its place, or empty.
    """

    name: str
    title: str
    toolchain: str
    flags: tuple[str, ...]
    cores: int
    clock_hz: int
    emulator: tuple[str, ...]
    flash: tuple[str, ...]

    @property
    def link(self) -> LinkKind:
        """How its programs talk to the host, outside an emulator if there is an outside."""
        return "uart" if self.flash else "semihosting"


def source_folder() -> Path:
    """Return the folder with csrc/ and firmware/.  Raises FirmwareError if they were left out."""
    folder = Path(__file__).parent / "source"
    if not (folder / "firmware" / "boards.json").is_file():
        raise FirmwareError(f"this installation has no firmware sources: {folder} is not there")
    return folder


@lru_cache
def boards() -> dict[str, Board]:
    """Return all boards by name."""
    text = (source_folder() / "firmware" / "boards.json").read_text("utf-8")
    found: dict[str, dict[str, Any]] = json.loads(text)
    return {name: _board(name, entry) for name, entry in found.items()}


def board_named(name: str) -> Board:
    """Return the board.  Raises ArgumentError if there is none of this name."""
    try:
        return boards()[name]
    except KeyError:
        raise ArgumentError(f"board {name!r} is unknown: expected {', '.join(boards())}") from None


def _board(name: str, entry: dict[str, Any]) -> Board:
    return Board(
        name,
        entry["title"],
        entry["toolchain"],
        tuple(entry["flags"]),
        entry.get("cores", 0),
        entry["clock_hz"],
        tuple(entry.get("emulator", ())),
        tuple(entry.get("flash", ())),
    )
