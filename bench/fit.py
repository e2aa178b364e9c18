"""k-means in one dimension against others that do it: squared error and time, measured in one run.

The peers are ckwrap (exact), scikit-learn's KMeans and faiss.Kmeans (both started at random), each
where it is installed: `pip install ckwrap scikit-learn faiss-cpu`.  Every fit runs in a process of
its own, on one thread, from the float32 feature to the centroids, and is given up after --limit
seconds.  Errors are those of the clusters about their means, so that nobody's rounding of the
centroids counts, and relative to ours.  `python bench/fit.py [--json] [--limit SECONDS]`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Callable

import numpy as np
import numpy.typing as npt
from stand_in import relu_feature

import pysplitcodec as sc

Feature = npt.NDArray[np.float32]
MEMORY = 12 << 30  # bytes that a fit may map
DATA = Path(os.environ.get("SPLITCODEC_DATA", Path(__file__).parents[2] / "shared" / "data"))
REAL = DATA / "features" / "tiny_split2_float32.npz"


def real_feature() -> tuple[str, Feature]:
    """Unquantised features of a network where SPLITCODEC_DATA has them, else generated."""
    if REAL.is_file():
        with np.load(REAL) as arrays:
            return REAL.stem, arrays["test"].reshape(-1)
    return "generated ReLU", relu_feature(614_400)


def ours(feature: Feature, count: int) -> npt.NDArray[Any]:
    return sc.Codebook.fit(feature, count.bit_length() - 1).centroids


def ckwrap(feature: Feature, count: int) -> npt.NDArray[Any]:
    import ckwrap

    values, weights = np.unique(feature, return_counts=True)
    return ckwrap.ckmeans(values.astype(float), count, weights=weights.astype(float)).centers


def sklearn(feature: Feature, count: int) -> npt.NDArray[Any]:
    from sklearn.cluster import KMeans

    return KMeans(count, n_init=1, random_state=0).fit(feature.reshape(-1, 1)).cluster_centers_


def faiss(feature: Feature, count: int) -> npt.NDArray[Any]:
    import faiss

    # by itself it would fit 256 values per centroid, drawn at random
    kmeans = faiss.Kmeans(1, count, seed=1, max_points_per_centroid=feature.size)
    kmeans.train(feature.reshape(-1, 1))
    return kmeans.centroids


FITS: list[Callable[[Feature, int], npt.NDArray[Any]]] = [ours, ckwrap, sklearn, faiss]


def squared_error(feature: Feature, centroids: npt.NDArray[Any]) -> float:
    """Of the values nearest to each centroid, about their mean, in 80-bit arithmetic."""
    values = np.sort(feature).astype(np.longdouble)
    values -= values.mean()
    levels = np.sort(np.asarray(centroids, dtype=np.float64).reshape(-1))
    cuts = np.searchsorted(np.sort(feature), (levels[1:] + levels[:-1]) / 2, "right")
    ends = np.unique([0, *cuts, values.size])
    runs = np.diff(np.concatenate([[0], np.cumsum(values)])[ends])
    squares = np.diff(np.concatenate([[0], np.cumsum(values * values)])[ends])
    return float(np.sum(squares - runs * runs / np.diff(ends)))


def work(index: int, feature: Feature, count: int, result: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    fit = FITS[index]
    fit(np.linspace(0, 1, 1000, dtype=np.float32), 2)  # imports and first calls are not timed
    start = time.perf_counter()
    centroids = fit(feature, count)
    result.send((time.perf_counter() - start, centroids))


def measure(index: int, feature: Feature, count: int, limit: float) -> dict[str, Any]:
    """Seconds and squared error, or what became of it."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(index, feature, count, sender))
    process.start()
    sender.close()
    try:
        if not receiver.poll(limit):
            return {"outcome": f"too slow: over {limit:g} s"}
        seconds, centroids = receiver.recv()
    except EOFError:
        return {"outcome": f"failed: out of {MEMORY >> 30} GiB, or see above"}
    finally:
        process.kill()
        process.join()
    return {"seconds": seconds, "squared_error": squared_error(feature, centroids)}


def rows(limit: float) -> Iterator[dict[str, Any]]:
    features = [
        ("generated ReLU", relu_feature(100_000)),
        real_feature(),
        ("generated ReLU", relu_feature(4_000_000)),
    ]
    for source, feature in features:
        for count in (4, 16, 256):
            of_ours = 0.0
            for index, fit in enumerate(FITS):
                name = fit.__name__
                if name != "ours" and find_spec(name) is None:
                    continue
                found = measure(index, feature, count, limit)
                if name == "ours":
                    of_ours = found["squared_error"]
                if "squared_error" in found:
                    found["excess_over_ours"] = found["squared_error"] / of_ours - 1
                yield {
                    "source": source,
                    "values": feature.size,
                    "distinct": np.unique(feature).size,
                    "centroids": count,
                    "fit": name,
                    **found,
                }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--limit", type=float, default=60, help="seconds for one fit")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    if arguments.json:
        machine = {"machine": platform.machine(), "python": sys.version.split()[0]}
        json.dump({**machine, "rows": list(rows(arguments.limit))}, sys.stdout, indent=1)
        return
    print("| feature | values | distinct | centroids | fit | seconds | squared error | over ours |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows(arguments.limit):
        cells = [row["source"], f"{row['values']:,}", f"{row['distinct']:,}", row["centroids"]]
        cells.append(row["fit"])
        if "seconds" in row:
            error, excess = row["squared_error"], row["excess_over_ours"]
            cells += [f"{row['seconds']:.3f}", f"{error:.12g}", f"{excess:.2g}"]
        else:
            cells += [row["outcome"], "", ""]
        print("|", " | ".join(map(str, cells)), "|", flush=True)


if __name__ == "__main__":
    main()
