"""Entries of range.json, for generate.py."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import adaptive
import reference

Planes = list[list[list[int]]]

# channels, rows, columns, bits
LAYOUTS = (
    *((1, 300, 1, 1), (3, 16, 16, 1), (2, 3, 101, 1), (4, 24, 24, 1)),
    *((2, 6, 6, 2), (3, 9, 16, 2), (1, 1, 500, 2), (5, 7, 5, 3), (2, 12, 20, 3)),
    *((2, 9, 9, 4), (1, 30, 9, 5), (2, 10, 7, 6), (1, 12, 12, 7), (2, 8, 12, 8)),
)


def entries() -> Iterator[dict[str, Any]]:
    rng = random.Random(2)
    for channels, rows, columns, bits in LAYOUTS:
        planes = _smooth(rng, channels, rows, columns, bits)
        name = f"range-{channels}x{rows}x{columns}-{bits}"
        body = _model_body(rng, channels, bits)
        model = adaptive.read_model(body, bits, channels)
        plain, modelled = (adaptive.encode(planes, bits, each) for each in (None, model))
        for payload, own in ((plain, None), (modelled, model)):
            if payload is not None:
                assert adaptive.decode(payload, channels, rows, columns, bits, own) == planes
        yield {
            "name": name,
            "bits": bits,
            "shape": [channels, rows, columns],
            "packed": reference.pack(
                [i for plane in planes for row in plane for i in row], bits
            ).hex(),
            "payload": plain and plain.hex(),
            "model_body": body.hex(),
            "payload_with_model": modelled and modelled.hex(),
        }


def _smooth(rng: random.Random, channels: int, rows: int, columns: int, bits: int) -> Planes:
    """Indices that are mostly like the one above or on the left, and often 0."""
    most = (1 << bits) - 1
    planes: Planes = []
    for _ in range(channels):
        plane: list[list[int]] = []
        for y in range(rows):
            row: list[int] = []
            for x in range(columns):
                near = [row[x - 1] if x else 0, plane[y - 1][x] if y else 0]
                drawn = rng.choice(near) + rng.choice((0, 0, 0, 0, 0, 0, -1, 1))
                row.append(
                    rng.randint(0, most) if rng.random() < 0.02 else min(max(drawn, 0), most)
                )
            plane.append(row)
        planes.append(plane)
    return planes


def _model_body(rng: random.Random, channels: int, bits: int) -> bytes:
    """Any questions that are allowed, often far beyond the edges; tables that expect zeros."""
    found = []
    most = min(8, 10 - bits) if bits < 4 else 1
    for channel in range(channels):
        questions = []
        for _ in range(rng.randint(0, min(most, 4))):
            back = rng.randint(0, channel)
            down, right = rng.choice(((0, -1), (-1, 0), (-1, 1), (0, -2), (-2, -1), (-128, 127)))
            if back and rng.random() < 0.5:
                down, right = rng.choice(((0, 0), (1, 1), (0, 3), (127, -128), (2, -1)))
            questions.append(adaptive.Question(back, down, right, rng.randint(1, (1 << bits) - 1)))
        size = ((1 << bits) - 1) << len(questions)
        table = bytes(rng.choice((0, 120, 128, 128, 136, 144)) for _ in range(size))
        found.append((questions, table))
    return adaptive.write_model(rng.choice((4, 5, 6, 7)), found)
