"""Bits of each layer under a budget of noise."""

from __future__ import annotations

import itertools
import re
import sys
from typing import Any

import numpy as np
import pytest

from pysplitcodec.errors import ArgumentError, MissingDependencyError
from pysplitcodec.plan.bit_widths import added_noise, exact_widths, integer_widths, water_filling


def problem(layers: int, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Sizes, noises, and a budget that 3 to 6 bits everywhere would just keep."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(100, 100_000, layers).astype(float)
    noises = rng.lognormal(0, 2, layers)
    return sizes, noises, added_noise(noises, np.full(layers, rng.uniform(3, 6)))


@pytest.mark.parametrize("seed", range(10))
def test_water_filling_is_optimal(seed: int) -> None:
    """The conditions of Karush, Kuhn and Tucker, which are enough: the problem is convex."""
    sizes, noises, budget = problem(12, seed)
    widths = water_filling(sizes, noises, budget)
    assert added_noise(noises, widths) == pytest.approx(budget, rel=1e-9)
    pressure = noises * 4.0**-widths / sizes
    inside = (widths > 1) & (widths < 8)
    assert inside.sum() > 2
    level = pressure[inside].mean()
    assert pressure[inside] == pytest.approx(level, rel=1e-6)
    assert (pressure[widths == 1] <= level * (1 + 1e-6)).all()
    assert (pressure[widths == 8] >= level * (1 - 1e-6)).all()


def test_a_large_budget_needs_the_fewest_bits() -> None:
    sizes, noises, _ = problem(5, 0)
    for found in (water_filling, integer_widths, exact_widths):
        if found is exact_widths:
            pytest.importorskip("scipy", reason="exact widths need the extra 'plan'")
        assert (found(sizes, noises, 1e9, low=2) == 2).all()
        tight = added_noise(noises, np.full(5, 8))
        assert found(sizes, noises, tight) == pytest.approx(np.full(5, 8.0))


@pytest.mark.parametrize("seed", range(6))
def test_exact_widths_are_those_of_every_combination(seed: int) -> None:
    pytest.importorskip("scipy", reason="exact widths need the extra 'plan'")
    sizes, noises, budget = problem(5, seed)
    every = np.array(list(itertools.product(range(1, 7), repeat=5)))
    kept = every[(noises * 4.0**-every).sum(1) <= budget]
    found = exact_widths(sizes, noises, budget, high=6)
    assert added_noise(noises, found) <= budget
    assert sizes @ found == (kept @ sizes).min()


@pytest.mark.parametrize("layers", [2, 3, 6, 20, 200])
def test_rounding_stays_near_the_exact_optimum(layers: int) -> None:
    pytest.importorskip("scipy", reason="exact widths need the extra 'plan'")
    gaps = []
    for seed in range(10 if layers < 200 else 2):
        sizes, noises, budget = problem(layers, seed)
        real = sizes @ water_filling(sizes, noises, budget)
        rounded = integer_widths(sizes, noises, budget)
        exact = exact_widths(sizes, noises, budget)
        assert added_noise(noises, rounded) <= budget
        assert added_noise(noises, exact) <= budget
        assert real <= sizes @ exact * (1 + 1e-9)
        assert sizes @ exact <= sizes @ rounded
        gaps.append(sizes @ rounded / (sizes @ exact) - 1)
    assert np.mean(gaps) < 0.005
    assert max(gaps) < 0.05


@pytest.mark.parametrize("function", [water_filling, integer_widths, exact_widths])
@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"sizes": [1, 0]}, "sizes are [1, 0]: expected numbers above 0"),
        ({"sizes": []}, "sizes are []"),
        ({"noises": [1, float("nan")]}, "noises are [1, nan]"),
        ({"noises": [1.0]}, "noises are 1: expected 2, as many as sizes"),
        ({"low": 0}, "low and high are 0 and 8"),
        ({"low": 5, "high": 4}, "low and high are 5 and 4"),
        ({"high": 17}, "low and high are 1 and 17"),
        ({"budget": 0}, "budget is 0: expected at least 3.05176e-05, the noise at 8 bits"),
        ({"budget": float("nan")}, "budget is nan"),
    ],
)
def test_wrong_problems(function: Any, changed: dict[str, Any], says: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(says)):
        function(**{"sizes": [1, 2], "noises": [1.0, 1.0], "budget": 0.1, **changed})


def test_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(MissingDependencyError, match=r"pysplitcodec\[plan\]"):
        exact_widths([1, 2], [1.0, 1.0], 0.1)
