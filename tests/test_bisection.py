"""The least setting that keeps an accuracy."""

from __future__ import annotations

import pytest

from pysplitcodec.bisection import least_that_keeps


@pytest.mark.parametrize("least", [1, 2, 37, 99, 100])
def test_the_least_is_found_and_nothing_asked_twice(least: int) -> None:
    asked: list[int] = []

    def keeps(value: int) -> bool:
        asked.append(value)
        return value >= least

    assert least_that_keeps(1, 100, keeps) == least
    assert len(asked) == len(set(asked)) <= 11
    assert all(1 <= value <= 100 for value in asked)


def test_a_lucky_one_near_counts_and_one_far_away_does_not() -> None:
    assert least_that_keeps(1, 100, lambda value: value >= 40 or value == 38) == 38
    assert least_that_keeps(1, 100, lambda value: value >= 40 or value in (37, 34)) == 34
    assert least_that_keeps(1, 100, lambda value: value >= 40 or value == 30) == 40


def test_none_keeps() -> None:
    assert least_that_keeps(1, 100, lambda _: False) is None
    assert least_that_keeps(5, 5, lambda _: True) == 5
