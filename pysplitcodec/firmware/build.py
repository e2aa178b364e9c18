"""Building firmware for a board with CMake, and the sizes of what came of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pysplitcodec.c_header import c_definitions, c_header
from pysplitcodec.codec import Codec
from pysplitcodec.errors import ArgumentError, FirmwareError, MissingDependencyError
from pysplitcodec.firmware.boards import Board, LinkKind, source_folder

__all__ = ["App", "Part", "binary_of", "build", "need_tool", "parts_of"]

App = Literal["self_test", "node_feature", "node_tiles", "node_cluster"]

# How to get what does not come as a Debian package of its own name.
_HOW = {
    "arm-none-eabi-gcc": "apt-get install gcc-arm-none-eabi",
    "riscv64-unknown-elf-gcc": "apt-get install gcc-riscv64-unknown-elf",
    "qemu-system-riscv32": "apt-get install qemu-system-misc",
    "picotool": "https://github.com/raspberrypi/picotool",
    "pyocd": "pip install pyocd",
}


def need_tool(name: str) -> str:
    """Return the tool's path.  Raises MissingDependencyError, with how to get it, if absent."""
    found = shutil.which(name)
    if found is None:
        how = _HOW.get(name, f"apt-get install {name}")
        raise MissingDependencyError(f"{name} is not installed: {how}")
    return found


def build(
    board: Board,
    app: App,
    folder: Path,
    link: LinkKind = "semihosting",
    codec: Codec | None = None,
    more: Sequence[str] = (),
) -> Path:
    """Compile an application for the board in `folder` and return its ELF file.

    app: "self_test", or a node, which takes features whole or in tiles, or whole for the cores of
    the board's cluster; codec: what nodes encode with.  link: how it talks to the host; semihosting
    is for emulators and debuggers.  more: definitions for the compiler, such as
    "NODE_TILE_ELEMENTS=64".

    The linker's map lies beside it.  What is up to date is not compiled again.  Raises
    MissingDependencyError without CMake or the compiler, FirmwareError if they fail: too large for
    the board's memory, for instance.
    """
    if (codec is None) != (app == "self_test"):
        raise ArgumentError(
            f"app is {app!r} {'without' if codec is None else 'with'} a codec: expected one for "
            "nodes, none for self_test"
        )
    if app == "node_cluster" and not board.cores:
        raise ArgumentError(f"board {board.name} has no cluster: expected one that has")
    need_tool("cmake")
    need_tool(f"{board.toolchain}-gcc")
    source = source_folder() / "firmware"
    chosen = [f"-DSPLITCODEC_BOARD={board.name}", f"-DSPLITCODEC_LINK={link}"]
    chosen.append(f"-DCMAKE_C_FLAGS={' '.join(f'-D{definition}' for definition in more)}")
    if codec is not None:
        plan = folder / "plan"
        plan.mkdir(parents=True, exist_ok=True)
        (plan / "splitcodec_plan.h").write_text(c_header(codec), "ascii")
        chosen += [f"-DSPLITCODEC_PLAN={plan.resolve()}"]
        chosen += [f"-DSPLITCODEC_PLAN_DEFINITIONS={';'.join(c_definitions(codec))}"]
    _run(["cmake", "-S", source, "-B", folder, *chosen])
    _run(["cmake", "--build", folder, "--target", app, "--parallel"])
    return folder / f"{app}.elf"


def binary_of(board: Board, elf: Path) -> Path:
    """Write the bytes of a program's flash beside it, as NAME.bin, and return where that is."""
    binary = elf.with_suffix(".bin")
    _run([need_tool(f"{board.toolchain}-objcopy"), "-O", "binary", elf, binary])
    return binary


def _run(command: Sequence[str | Path]) -> None:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise FirmwareError("\n".join([f"{' '.join(map(str, command))} failed:", *lines[-30:]]))


# ------------------------------------------------------------------ sizes


@dataclass
class Part:
    """Bytes of one part of a program: the core, the application, the port, what compilers add.

    flash: code, constants and initial values; ram: what has an address there, initialised or not,
    without the stack.
    """

    flash_bytes: int = 0
    ram_bytes: int = 0


_INPUT = re.compile(r"^ (?:\S+|\*fill\*)\s+0x[0-9a-f]+\s+(0x[0-9a-f]+)(?:\s+(\S.*))?$")


def parts_of(elf: Path) -> dict[str, Part]:
    """Return the sizes of each part, by the linker's map beside the program, and their sum."""
    found = {name: Part() for name in ("core", "app", "port", "compiler", "total")}
    text = elf.with_suffix(".map").read_text("utf-8")
    listing = text[text.index("Linker script and memory map") :]
    # a name too long for its column has the rest on the next line
    listing = re.sub(r"^( \S+)\n +(0x)", r"\1 \2", listing, flags=re.MULTILINE)
    section = ""
    for line in listing.splitlines():
        if line.startswith("."):
            section = line.split()[0]
        match = _INPUT.match(line)
        if match is None:
            continue
        size, place = int(match[1], 16), match[2] or ""
        for part in (found[_part_of(place)], found["total"]):
            if section in (".text", ".ARM.exidx", ".data"):
                part.flash_bytes += size
            if section in (".data", ".bss", ".l1"):
                part.ram_bytes += size
    return found


def _part_of(place: str) -> str:
    if "_core.a" in place:
        return "core"
    if "port.dir" in place:
        return "port"
    return "app" if ".dir/app/" in place else "compiler"
