"""How many bits each layer gets, so that noise stays within a budget and least is sent: QPART.

For one split point (QPART, Eq. 23 and 28): minimise the sum of sizes_l b_l, while the sum of
noises_l 4 ** -b_l stays within a budget, with low <= b_l <= high.  sizes: numbers of each layer's
weights, or of the feature.  noises: s_l / rho_l, what a layer adds at 0 bits to the degradation
(Eq. 18 to 22).

Eq. 40, the paper's closed form, depends on no noise at all, and its Eq. 29 makes a joint problem of
bits and split point, which is an integer.  For a given split point the problem is linear under a
convex constraint, and has the closed form of `water_filling`; split points are enumerated.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pysplitcodec.errors import ArgumentError, MissingDependencyError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_LOG4 = float(np.log(4))


def water_filling(
    sizes: ArrayLike, noises: ArrayLike, budget: float, low: int = 1, high: int = 8
) -> Floats:
    """The best real widths: b_l = log4(lambda noises_l / sizes_l), within low and high.

    All layers between the two then add noise in proportion to their sizes (the first line of
    Eq. 39).  lambda is found by bisection: the noise is the budget, or less if `low` is enough.

    Raises ArgumentError for sizes and noises that are not above 0 or not as many, a range that is
    none, and a budget that `high` does not keep.
    """
    z, noise = _checked(sizes, noises, budget, low, high)

    fewest = np.full(len(z), float(low))
    if added_noise(noise, fewest) <= budget:
        return fewest

    def widths(log_lambda: float) -> Floats:
        return np.clip((log_lambda + np.log(noise / z)) / _LOG4, low, high)

    ratios = np.log(z / noise)
    less, more = float(ratios.min() + _LOG4 * low), float(ratios.max() + _LOG4 * high)
    while less < (middle := (less + more) / 2) < more:
        if added_noise(noise, widths(middle)) > budget:
            less = middle
        else:
            more = middle
    return widths(more)


def integer_widths(
    sizes: ArrayLike, noises: ArrayLike, budget: float, low: int = 1, high: int = 8
) -> Integers:
    """`water_filling`, rounded: up, then down again where that saves most for its noise.

    Then bits are exchanged: a layer gives some up, others that cost less take what that needs.
    Near the best, not always the best: `exact_widths`.  Raises as `water_filling`.
    """
    real = water_filling(sizes, noises, budget, low, high)
    z, noise = _checked(sizes, noises, budget, low, high)
    # 1e-9: what bisection leaves must not cost a bit
    widths = np.clip(np.ceil(real - 1e-9), low, high).astype(np.int64)
    widths = _raised(widths, z, noise, budget, np.full(len(z), high))
    while True:
        room = budget - added_noise(noise, widths)
        more = 3 * noise * 4.0**-widths  # what a bit less adds
        gains = np.where((widths > low) & (more <= room), z / more, 0.0)
        if not gains.any():
            break
        widths[np.argmax(gains)] -= 1
    while (better := _exchanged(widths, z, noise, budget, low, high)) is not None:
        widths = better
    return widths


def _raised(
    widths: Integers,
    z: Floats,
    noise: Floats,
    budget: float,
    highest: Integers,
    most: float = np.inf,
) -> Integers:
    """Widths with bits where they take most noise for their size, until the budget is kept.

    Given up where no more bits may be had, or all together would be `most` or more.
    """
    raised: Integers = widths.copy()
    while added_noise(noise, raised) > budget and (raised < highest).any() and z @ raised < most:
        gains = np.where(raised < highest, 0.75 * noise * 4.0**-raised / z, -np.inf)
        raised[np.argmax(gains)] += 1
    return raised


def _exchanged(
    widths: Integers, z: Floats, noise: Floats, budget: float, low: int, high: int
) -> Integers | None:
    """Fewer bits in all, some given up by the largest layer for which that works; else None."""
    now = float(z @ widths)
    for layer in np.argsort(-z, kind="stable"):
        for width in range(widths[layer] - 1, low - 1, -1):
            highest = np.full(len(z), high)
            highest[layer] = width
            found = _raised(np.minimum(widths, highest), z, noise, budget, highest, now)
            if added_noise(noise, found) <= budget and z @ found < now:
                return found
    return None


def exact_widths(
    sizes: ArrayLike, noises: ArrayLike, budget: float, low: int = 1, high: int = 8
) -> Integers:
    """The best integer widths, by SciPy's mixed-integer programming (extra "plan").

    Under a second for 200 layers.  Raises as `water_filling`, and MissingDependencyError without
    SciPy.
    """
    z, noise = _checked(sizes, noises, budget, low, high)
    try:
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_array
    except ImportError:
        raise MissingDependencyError(
            "exact widths need SciPy: pip install 'pysplitcodec[plan]'"
        ) from None
    every = np.arange(low, high + 1)
    count = len(every)
    one_each = np.kron(np.eye(len(z)), np.ones(count))
    shares = (noise[:, None] * 4.0**-every / budget).ravel()
    solved = milp(
        (z[:, None] * every / z.max()).ravel(),
        constraints=LinearConstraint(
            csr_array(np.vstack([one_each, shares])),
            np.append(np.ones(len(z)), -np.inf),
            np.ones(len(z) + 1),
        ),
        integrality=np.ones(len(shares)),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0},
    )
    rounded = integer_widths(sizes, noises, budget, low, high)
    if solved.x is None:
        return rounded
    widths: Integers = every[np.argmax(solved.x.reshape(len(z), count), 1)]
    # the solver holds constraints to 1e-6, and we hold them to the last bit
    if added_noise(noise, widths) > budget or z @ rounded < z @ widths:
        return rounded
    return widths


def added_noise(noises: ArrayLike, widths: ArrayLike) -> float:
    """What layers add at their widths: the sum of noises_l 4 ** -b_l (Eq. 34)."""
    found = np.asarray(noises, np.float64) * 4.0 ** -np.asarray(widths, np.float64)
    return float(np.sum(found))


def _checked(
    sizes: ArrayLike, noises: ArrayLike, budget: float, low: int, high: int
) -> tuple[Floats, Floats]:
    found = []
    for name, values in (("sizes", sizes), ("noises", noises)):
        array = np.asarray(values, np.float64)
        if array.ndim != 1 or not len(array) or not np.isfinite(array).all() or array.min() <= 0:
            raise ArgumentError(f"{name} are {values!r}: expected numbers above 0")
        found.append(array)
    z, noise = found
    if len(z) != len(noise):
        raise ArgumentError(f"noises are {len(noise)}: expected {len(z)}, as many as sizes")
    if not 1 <= low <= high <= 16:
        raise ArgumentError(f"low and high are {low} and {high}: expected 1 to 16, in this order")
    least = added_noise(noise, np.full(len(z), high))
    if not budget >= least:
        raise ArgumentError(
            f"budget is {budget:g}: expected at least {least:g}, the noise at {high} bits"
        )
    return z, noise
