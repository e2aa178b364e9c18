"""A serial line between two pseudo terminals."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Iterator

import numpy as np


class Wire:
    """Two ports that are connected; each byte is lost or has a bit flipped with a probability."""

    def __init__(self, lost: float = 0.0, flipped: float = 0.0) -> None:
        self._lost, self._flipped = lost, flipped
        (one, its), (two, other) = os.openpty(), os.openpty()
        self.ports = os.ttyname(its), os.ttyname(other)
        self._ends = one, two, its, other
        for master in (one, two):
            os.set_blocking(master, False)
        self._pulled = threading.Event()
        self.broken = 0
        self._threads = [
            threading.Thread(target=self._carry, args=(*ends, np.random.default_rng(seed)))
            for seed, ends in enumerate(((one, two), (two, one)))
        ]
        for thread in self._threads:
            thread.start()

    def _carry(self, source: int, to: int, draws: np.random.Generator) -> None:
        while not self._pulled.is_set():
            if select.select([source], [], [], 0.05)[0]:
                whole = self._damaged(os.read(source, 256), draws)
                while whole and not self._pulled.is_set():
                    if select.select([], [to], [], 0.05)[1]:
                        whole = whole[os.write(to, whole) :]

    def _damaged(self, data: bytes, draws: np.random.Generator) -> bytes:
        kept = bytearray()
        for byte in data:
            draw, bit = draws.random(), int(draws.integers(8))
            lost, flipped = draw < self._lost, draw >= 1 - self._flipped
            self.broken += lost or flipped
            if not lost:
                kept.append(byte ^ (flipped << bit))
        return bytes(kept)

    def pull(self) -> None:
        """Have both ends see that the other is gone."""
        if not self._pulled.is_set():
            self._pulled.set()
            for thread in self._threads:
                thread.join()
            for end in self._ends:
                os.close(end)


@contextlib.contextmanager
def wire(**shares: float) -> Iterator[Wire]:
    made = Wire(**shares)
    yield made
    made.pull()
