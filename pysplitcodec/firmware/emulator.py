"""A board's program in QEMU, its link on two FIFOs."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pysplitcodec.errors import FirmwareError
from pysplitcodec.firmware.boards import Board, LinkKind
from pysplitcodec.firmware.build import need_tool

__all__ = ["Emulator"]

_LOOK_S = 0.2  # how often to look whether the emulator has ended
# what QEMU's pipes and firmware's semihosting open
_INPUT, _OUTPUT = "splitcodec.in", "splitcodec.out"


class Emulator:
    """Runs a program until it ends or the `with` block does; a `Stream` to its link.

    link: as the program was built; more: further options of QEMU's.  One instruction takes a
    nanosecond of the emulated clock.  Raises MissingDependencyError without QEMU, FirmwareError for
    a board that it does not know.
    """

    def __init__(
        self, board: Board, program: Path, link: LinkKind = "semihosting", more: Sequence[str] = ()
    ) -> None:
        if not board.emulator:
            raise FirmwareError(f"board {board.name} has no emulator: it takes the board itself")
        qemu = need_tool(board.emulator[0])
        serial = ["-serial", "null"]
        if link == "uart":
            serial = ["-chardev", "pipe,id=link,path=splitcodec", "-serial", "chardev:link"]
        self._folder = tempfile.TemporaryDirectory(prefix="splitcodec-")
        folder = Path(self._folder.name)
        for name in (_INPUT, _OUTPUT):
            os.mkfifo(folder / name)
        # for both ways, so that opening waits for nobody
        self._input = os.open(folder / _INPUT, os.O_RDWR)
        self._output = os.open(folder / _OUTPUT, os.O_RDWR)
        self._said = folder / "said"
        command = [
            *(qemu, *board.emulator[1:], "-display", "none", "-monitor", "none", *serial),
            *("-semihosting-config", "enable=on,target=native", "-icount", "shift=0", *more),
            *("-kernel", str(program.resolve())),
        ]
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )

    def read(self, timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        while True:
            left = max(deadline - time.monotonic(), 0)
            ready, _, _ = select.select([self._output], [], [], min(left, _LOOK_S))
            if ready:
                return os.read(self._output, 65536)
            self._check_running()
            if left == 0:
                return b""

    def write(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            _, ready, _ = select.select([], [self._input], [], _LOOK_S)
            if ready:  # at least PIPE_BUF bytes fit
                at += os.write(self._input, data[at : at + select.PIPE_BUF])
            else:
                self._check_running()

    def log(self) -> str:
        """Return what the program, and the emulator, have said so far."""
        return self._said.read_text("utf-8", "replace").strip()

    def wait(self, timeout_s: float = 10.0) -> int:
        """Return the program's exit code once it has ended; FirmwareError if it does not."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise FirmwareError(f"the program did not end within {timeout_s:g} s") from None

    def _check_running(self) -> None:
        code = self._process.poll()
        if code is not None:
            raise FirmwareError(f"the program ended with exit code {code}: {self.log()}")

    def __enter__(self) -> Emulator:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._input)
        os.close(self._output)
        self._folder.cleanup()
