"""Runs of zeros and Huffman codes, as in the end of JPEG: what papers code features with.

Ko et al., "Edge-Host Partitioning of Deep Neural Networks with Feature Space Encoding for
Resource-Constrained Internet-of-Things Platforms" (2018), 3.3.  Here to compare sizes: a plain
implementation, whose time says nothing about the method.

Token 0 stands for sixteen zeros, 1 + run * (2**bits - 1) + value - 1 for `run` (0 to 15) zeros and
then a `value` above 0; zeros past the last element are dropped.  A payload is the length of every
token's code, four bits each, then the codes, canonical, from the highest bit.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Sequence

import numpy as np

from pysplitcodec.bench.operations import Array

__all__ = ["decode", "encode"]

_RUNS = 16
_LONGEST = 15  # what four bits can say


def encode(indices: Array, bits: int) -> bytes:
    """Return the payload of uint8 indices below 2**bits, of any shape."""
    tokens = _tokens(indices.reshape(-1), bits)
    lengths = _code_lengths(np.bincount(tokens, minlength=_alphabet(bits)).tolist())
    table = "".join(f"{length:x}" for length in lengths)
    code_of = {token: code for code, token in _codes(lengths).items()}
    coded = "".join(code_of[token] for token in tokens.tolist())
    coded += "0" * (-len(coded) % 8)
    return bytes.fromhex(table + "0" * (len(table) % 2)) + _to_bytes(coded)


def decode(payload: bytes, bits: int, count: int) -> Array:
    """Return the `count` indices of a payload, flat."""
    size = (_alphabet(bits) + 1) // 2
    lengths = [int(digit, 16) for digit in payload[:size].hex()[: _alphabet(bits)]]
    token_of = _codes(lengths)
    coded = f"{int.from_bytes(payload[size:], 'big'):0{8 * (len(payload) - size)}b}"
    found = re.compile("|".join(token_of)).findall(coded)
    return _indices(np.array([token_of[code] for code in found]), bits, count)


def _alphabet(bits: int) -> int:
    return 1 + _RUNS * ((1 << bits) - 1)


def _tokens(flat: Array, bits: int) -> Array:
    (at,) = np.nonzero(flat)
    sixteens, run = np.divmod(np.diff(at, prepend=-1) - 1, _RUNS)
    ends = np.cumsum(sixteens + 1)
    behind = flat.size - (at[-1] + 1 if at.size else 0)
    tokens = np.zeros((ends[-1] if at.size else 0) + -(-behind // _RUNS), np.int64)
    tokens[ends - 1] = run * ((1 << bits) - 1) + flat[at]
    return tokens


def _indices(tokens: Array, bits: int, count: int) -> Array:
    run, value = np.divmod(tokens - 1, (1 << bits) - 1)
    ends = np.cumsum(np.where(tokens == 0, _RUNS, run + 1))
    valued = (tokens > 0) & (ends <= count)  # the last byte's spare bits may read as more tokens
    indices = np.zeros(count, np.uint8)
    indices[ends[valued] - 1] = value[valued] + 1
    return indices


def _code_lengths(counts: Sequence[int]) -> list[int]:
    """Huffman's code length for every token that occurs, 0 for the others."""
    heap = [(count, [token]) for token, count in enumerate(counts) if count]
    lengths = [0] * len(counts)
    if len(heap) == 1:
        lengths[heap[0][1][0]] = 1
    heapq.heapify(heap)
    while len(heap) > 1:
        (count, tokens), (other, others) = heapq.heappop(heap), heapq.heappop(heap)
        for token in tokens + others:
            lengths[token] += 1
        heapq.heappush(heap, (count + other, tokens + others))
    if max(lengths) > _LONGEST:  # evener counts have shorter codes
        return _code_lengths([(count + 1) // 2 for count in counts])
    return lengths


def _codes(lengths: Sequence[int]) -> dict[str, int]:
    """The canonical code of each token that has a length, as digits: shorter ones come first."""
    code, before, token_of = 0, 0, {}
    for length, token in sorted((length, token) for token, length in enumerate(lengths) if length):
        code <<= length - before
        token_of[f"{code:0{length}b}"] = token
        code, before = code + 1, length
    return token_of


def _to_bytes(digits: str) -> bytes:
    return int(digits, 2).to_bytes(len(digits) // 8, "big")
