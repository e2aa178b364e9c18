"""What encoding costs on each core of a GAP8-like cluster, without one.

Instructions of one encode at 2 bits with `pack`, counted by a QEMU plugin for each hart and
function as the difference of two runs, so exact and the same every time; sleep takes none.  Frames
must be what the Python package makes.  `python bench/riscv/cluster.py [--json]`; in JSON, `harts`
has the fabric controller first, with all that it does for the link.

Needs CMake, riscv64-unknown-elf-gcc, qemu-system-riscv32 and cc; pysplitcodec with its firmware.
"""

from __future__ import annotations

import argparse
import bisect
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import pysplitcodec as sc
from pysplitcodec.codec import Dtype
from pysplitcodec.firmware.boards import board_named
from pysplitcodec.firmware.build import build
from pysplitcodec.firmware.emulator import Emulator
from pysplitcodec.firmware.link import Link
from pysplitcodec.firmware.node import Node

BOARD = "riscv-cluster"
NEED = ("cmake", "riscv64-unknown-elf-gcc", "riscv64-unknown-elf-nm", "qemu-system-riscv32", "cc")
PLUGIN = Path(__file__).resolve().parents[1] / "arm" / "count.c"
SHAPES: dict[Dtype, tuple[int, ...]] = {"int8": (64, 56, 56), "float32": (32, 32, 32)}
BITS = 2
# as a prefix, for compilers that make variants
PURPOSES = {
    "copy": ("copy", "port_copy", "memcpy"),
    "checksum": ("spc_crc32c", "times", "crc_before"),
}


class Bench:
    """A node for one dtype, and what its harts execute."""

    def __init__(self, folder: Path, dtype: Dtype) -> None:
        rng = np.random.default_rng(0)
        values = rng.normal(size=SHAPES[dtype]) * 30
        self.feature = np.clip(values, -128, 127).astype(dtype)
        book = sc.Codebook(np.float32([-45, -15, 15, 45]))
        self.codec = sc.Codec(book, "pack", shape=self.feature.shape, dtype=dtype)
        self.board = board_named(BOARD)
        self.program = build(self.board, "node_cluster", folder / dtype, codec=self.codec)
        self.plugin = folder / "count.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", PLUGIN, "-o", self.plugin], check=True)
        self.functions = functions_of(self.program)

    def counted(self, cores: int, times: int) -> Counter[tuple[int, str]]:
        """Instructions of each hart and function of a run that encodes so often."""
        plugin = ["-plugin", f"{self.plugin},blocks"]
        with Emulator(self.board, self.program, more=plugin) as emulator:
            node = Node(Link(emulator), self.codec)
            for _ in range(times):
                if node.encode(self.feature, cores=cores) != self.codec.encode(self.feature):
                    sys.exit(f"{cores} cores: not the frame that the Python package makes")
            node.quit()
            emulator.wait()
            said = emulator.log()
        found: Counter[tuple[int, str]] = Counter()
        starts = [start for start, _ in self.functions]
        for hart, address, count in re.findall(r"block (\d+) (\w+) (\d+)", said):
            name = self.functions[bisect.bisect(starts, int(address, 16)) - 1][1]
            found[int(hart), name] += int(count)
        return found

    def measure(self, cores: int) -> dict[str, Any]:
        """Of the longest core: instructions in all, and those that copy and check."""
        one = self.counted(cores, 2)
        one.subtract(self.counted(cores, 1))
        harts: Counter[int] = Counter()
        for (hart, _), count in one.items():
            harts[hart] += count
        longest = max(range(1, self.board.cores + 1), key=lambda hart: harts[hart])
        parts = {
            purpose: sum(
                count
                for (hart, name), count in one.items()
                if hart == longest and name.startswith(names)
            )
            for purpose, names in PURPOSES.items()
        }
        return {
            "cores": cores,
            "elements": self.feature.size,
            "harts": [harts[hart] for hart in range(self.board.cores + 1)],
            "longest": harts[longest],
            **parts,
        }


def functions_of(program: Path) -> list[tuple[int, str]]:
    """Addresses and names of the program's functions, ascending."""
    command = ["riscv64-unknown-elf-nm", str(program)]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.findall(r"^(\w+) [tTwW] (\S+)$", listed, re.MULTILINE)
    return sorted((int(address, 16), name) for address, name in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for dtype in SHAPES:
            bench = Bench(Path(name), dtype)
            rows += [{"dtype": dtype, **bench.measure(cores)} for cores in (1, 2, 4, 8)]
    if arguments.json:
        print(json.dumps({"bits": BITS, "rows": rows}, indent=1))
        return
    print("| dtype | cores | longest core | times fewer | per element | copies | checksum |")
    print("|---" * 7 + "|")
    for row in rows:
        alone = next(one["longest"] for one in rows if one["dtype"] == row["dtype"])
        each = [row[name] / row["elements"] for name in ("longest", *PURPOSES)]
        print(
            f"| {row['dtype']} | {row['cores']} | {row['longest']:,} "
            f"| {alone / row['longest']:.2f} | {' | '.join(f'{one:.2f}' for one in each)} |"
        )


if __name__ == "__main__":
    main()
