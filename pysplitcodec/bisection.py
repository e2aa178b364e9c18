"""Search for the least setting that keeps an accuracy."""

from __future__ import annotations

from collections.abc import Callable

_NEIGHBOURS = 3


def least_that_keeps(low: int, high: int, keeps: Callable[[int], bool]) -> int | None:
    """The least of low..high that keeps what is asked for; None if `high` does not.

    By bisection, as if more always kept more, and then by going down until three in a row fail:
    accuracies go up and down by single samples.  Nothing is asked twice.

    >>> least_that_keeps(1, 100, lambda quality: quality >= 37)
    37
    """
    known: dict[int, bool] = {}

    def asked(value: int) -> bool:
        if value not in known:
            known[value] = keeps(value)
        return known[value]

    if not asked(high):
        return None
    fails, least = low - 1, high
    while least - fails > 1:
        middle = (least + fails) // 2
        if asked(middle):
            least = middle
        else:
            fails = middle
    value = least - 1
    while value >= max(low, least - _NEIGHBOURS):
        if asked(value):
            least = value
        value -= 1
    return least
