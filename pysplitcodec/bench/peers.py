"""How the same is done without this package.

A peer takes a Job and returns the operations it has, or raises UnsuitableError.  They see the same
values, thresholds and centroids, run in one thread, and write into buffers that are there already
where their interface takes any.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np

from pysplitcodec.bench.operations import Array, Job, Operation

__all__ = ["PEERS", "UnsuitableError", "one_thread"]

# Largest temporary array of a peer, in elements.
_MOST_DISTANCES = 1 << 27


class UnsuitableError(Exception):
    """A peer is not installed or cannot do this job; the message says why."""


def _numpy(job: Job) -> dict[str, Operation]:
    """np.searchsorted, bits by np.unpackbits and np.packbits, np.take.

    Of 8 and 16 bits there are so few values that np.take in a table of all of them, made by
    np.searchsorted beforehand, is faster.
    """
    values, bits = job.values.reshape(-1), job.codebook.bits
    thresholds, centroids = job.codebook.thresholds, _rounded(job)
    indices, packed = job.indices().reshape(-1), job.packed()
    restored = np.empty_like(values)
    if values.itemsize == 4:

        def quantize() -> Array:
            return np.searchsorted(thresholds, values).astype(np.uint8)
    else:
        keys = values.view(f"u{values.itemsize}")
        every = np.arange(1 << 8 * values.itemsize).astype(keys.dtype).view(values.dtype)
        with np.errstate(invalid="ignore"):  # there are NaNs among them
            table = np.searchsorted(thresholds, every.astype(np.float32)).astype(np.uint8)
        found = np.empty_like(indices)

        def quantize() -> Array:
            np.take(table, keys, out=found, mode="clip")
            return found

    def pack(indices: Array) -> Array:
        if bits == 8:
            return np.copy(indices)
        digits = indices
        if bits > 1:
            digits = np.unpackbits(indices[:, None], axis=1, bitorder="little", count=bits)
        return np.packbits(digits, bitorder="little")

    def unpack(packed: Array) -> Array:
        if bits == 8:
            return np.copy(packed)
        digits = np.unpackbits(packed, bitorder="little", count=values.size * bits)
        if bits == 1:
            return digits
        return np.packbits(digits.reshape(-1, bits), axis=1, bitorder="little")[:, 0]

    def look_up(indices: Array) -> Array:
        np.take(centroids, indices, out=restored, mode="clip")
        return restored

    payload = packed.tobytes()
    return _operations(
        quantize=quantize,
        pack=lambda: pack(indices),
        quantize_pack=lambda: pack(quantize()),
        unpack=lambda: unpack(packed),
        lut=lambda: look_up(indices),
        unpack_lut=lambda: look_up(unpack(packed)),
        # the payload alone: numpy has no checksum
        encode=lambda: np.frombuffer(pack(quantize()).tobytes(), np.uint8),
        decode=lambda: look_up(unpack(np.frombuffer(payload, np.uint8))),
    )


def _numpy_compare(job: Job) -> dict[str, Operation]:
    """One comparison for each threshold, summed: what pays at 1 to 3 bits."""
    values, thresholds = _float32(job), job.codebook.thresholds
    indices, above = np.empty(values.size, np.uint8), np.empty(values.size, np.bool_)

    def quantize() -> Array:
        np.greater(values, thresholds[0], out=indices.view(np.bool_))
        for threshold in thresholds[1:]:
            np.greater(values, threshold, out=above)
            np.add(indices, above.view(np.uint8), out=indices)
        return indices

    if thresholds.size > 1:
        return _operations(quantize=quantize)
    return _operations(
        quantize=quantize, quantize_pack=lambda: np.packbits(quantize(), bitorder="little")
    )


def _numpy_argmin(job: Job) -> dict[str, Operation]:
    """The nearest centroid as it is defined."""
    values, centroids = _float32(job)[:, None], job.codebook.centroids
    distances = values.size * centroids.size
    if distances > _MOST_DISTANCES:
        raise UnsuitableError(f"holds {distances * 4 // 10**6} MB of distances at once")
    return _operations(quantize=lambda: np.abs(values - centroids).argmin(axis=1))


def _torch(job: Job) -> dict[str, Operation]:
    torch = _import("torch")
    values = torch.from_numpy(_float32(job))
    thresholds = torch.from_numpy(job.codebook.thresholds)
    found = torch.empty(values.numel(), dtype=torch.int32)
    bucketize = partial(torch.bucketize, values, thresholds, out_int32=True, out=found)
    return {"quantize": Operation(bucketize, lambda found: np.asarray(found))}


def _faiss(job: Job) -> dict[str, Operation]:
    """Exact search among vectors of one dimension."""
    faiss = _import("faiss")
    values, index = _float32(job)[:, None], faiss.IndexFlatL2(1)
    index.add(job.codebook.centroids[:, None])
    distances, found = np.empty(values.shape, np.float32), np.empty(values.shape, np.int64)
    search = partial(index.search, values, 1, D=distances, I=found)
    return {"quantize": Operation(search, lambda _: found)}


def _scikit_learn(job: Job) -> dict[str, Operation]:
    """KMeans.predict; the centroids, clustered, are their own clusters in the same order."""
    cluster = _import("sklearn.cluster")
    values, centroids = _float32(job)[:, None], job.codebook.centroids[:, None]
    kmeans = cluster.KMeans(len(centroids), init=centroids, n_init=1, max_iter=1)
    return _operations(quantize=partial(kmeans.fit(centroids).predict, values))


PEERS: dict[str, Callable[[Job], dict[str, Operation]]] = {
    "numpy": _numpy,
    "numpy compare": _numpy_compare,
    "numpy argmin": _numpy_argmin,
    "torch": _torch,
    "faiss": _faiss,
    "scikit-learn": _scikit_learn,
}


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold the peers that are installed to one thread."""
    with ExitStack() as stack:
        for name, get, put in (
            ("torch", "get_num_threads", "set_num_threads"),
            ("faiss", "omp_get_max_threads", "omp_set_num_threads"),
        ):
            try:
                module = _import(name)
            except UnsuitableError:
                continue
            stack.callback(getattr(module, put), getattr(module, get)())
            getattr(module, put)(1)
        try:
            limits = _import("threadpoolctl").threadpool_limits(1)  # scikit-learn comes with it
        except UnsuitableError:
            limits = ExitStack()
        stack.enter_context(limits)
        yield


def _operations(**calls: Callable[[], Array]) -> dict[str, Operation]:
    """Operations that return what they make."""
    return {name: Operation(call, lambda made: made) for name, call in calls.items()}


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UnsuitableError("not installed") from None


def _float32(job: Job) -> Array:
    if job.dtype != "float32":
        raise UnsuitableError("is compared on float32 alone")
    return job.values.reshape(-1)


def _rounded(job: Job) -> Array:
    """The centroids in the dtype of the job, as the core rounds them."""
    centroids = job.codebook.centroids
    if job.dtype in ("int8", "uint8"):
        limits = np.iinfo(job.dtype)
        whole = np.floor(centroids.astype(np.float64) + 0.5)
        return np.clip(whole, limits.min, limits.max).astype(job.dtype)
    return centroids.astype(job.values.dtype)
