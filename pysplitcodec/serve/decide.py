"""Which offer suits a device: QPART, Algorithm 2, for a request in JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from pysplitcodec.errors import ArgumentError, ProtocolError, ServerError
from pysplitcodec.plan import (
    Choice,
    DeviceProfile,
    Limits,
    Link,
    Weights,
    best,
    choices,
    get_device,
    get_link,
)
from pysplitcodec.plan.patterns import at_drop
from pysplitcodec.plan.tables import check_count, check_keys, check_positive
from pysplitcodec.serve.offers import Offer
from pysplitcodec.serve.protocol import decode_object, shown

__all__ = ["NoOfferError", "Request", "decide"]

_NEEDED = ("model", "max_accuracy_drop", "device", "link", "inferences")
# Beyond these no figure has a meaning, and no cost would be finite.
_LEAST, _MOST = 1e-18, 1e18


class NoOfferError(ServerError):
    """No offer keeps the budget; the message names what comes nearest."""


@dataclass(frozen=True)
class Request:
    """What a device asks: see docs/serving.md.

    inferences: for how many inputs the head is sent once.
    """

    model: str
    max_accuracy_drop: float
    device: DeviceProfile
    link: Link
    inferences: float
    weights: Weights
    limits: Limits

    @classmethod
    def read(cls, body: bytes) -> Request:
        """Read a request.  Raises ProtocolError and ArgumentError."""
        top, _ = decode_object(body, None)
        check_keys("the request", top, needed=_NEEDED, known=(*_NEEDED, "weights", "limits"))
        _check_figures("the request", top)
        model, drop = top["model"], top["max_accuracy_drop"]
        if not isinstance(model, str):
            raise ProtocolError(f"model is {shown(model)}: expected a name")
        check_count("the request", max_accuracy_drop=drop)
        check_positive("the request", inferences=top["inferences"])
        if drop > 1:
            raise ArgumentError(f"max_accuracy_drop is {drop!r}: expected a share, 0 to 1")
        limits = _table(top, "limits", [one.name for one in fields(Limits)])
        return cls(
            model,
            drop,
            _profile(top["device"], "device", get_device, DeviceProfile.from_dict),
            _profile(top["link"], "link", get_link, Link.from_dict),
            top["inferences"],
            Weights(**_table(top, "weights", [one.name for one in fields(Weights)])),
            Limits(**{**limits, "accuracy_drop": drop}),
        )


def decide(
    request: Request, offers: Sequence[Offer], server: DeviceProfile | None
) -> tuple[Offer, dict[str, Any], dict[str, Any] | None]:
    """The offer of the least objective, its figures, and those of the next best, if there is one.

    Raises NoOfferError if none keeps the drop or the limits, ArgumentError if a figure that the
    objective needs is not known.
    """
    try:
        patterns = at_drop([offer.pattern for offer in offers], request.max_accuracy_drop)
    except ArgumentError as error:
        raise NoOfferError(f"max_accuracy_{error}") from None
    level = patterns[0].drop
    found, by_name = _choices(request, offers, server, level)
    if not found[0].feasible:
        raise NoOfferError(_nearest(request, offers, server, found, level))
    rows = [
        _figures(choice, by_name[choice.candidate.name]) for choice in found[:2] if choice.feasible
    ]
    return by_name[found[0].candidate.name], rows[0], rows[1] if rows[1:] else None


def _choices(
    request: Request, offers: Sequence[Offer], server: DeviceProfile | None, level: float
) -> tuple[list[Choice], dict[str, Offer]]:
    """The choices of one accuracy drop, the best first, and the offers by split point."""
    by_name = {one.pattern.split: one for one in offers if one.pattern.drop == level}
    candidates = [
        replace(
            one.pattern.candidate,
            head_bytes=one.head.stat().st_size,
            coder=None if one.codec.coder == "pack" else one.codec.coder,
        )
        for one in by_name.values()
    ]
    found = choices(
        candidates,
        request.device,
        request.link,
        server=server,
        inferences=request.inferences,
        weights=request.weights,
        limits=request.limits,
    )
    return found, by_name


def _nearest(
    request: Request,
    offers: Sequence[Offer],
    server: DeviceProfile | None,
    found: Sequence[Choice],
    level: float,
) -> str:
    """Why nothing will do, and the least accuracy drop at which something would."""
    try:
        best(found)
    except ArgumentError as error:
        message = str(error)
    for drop in sorted({one.pattern.drop for one in offers if one.pattern.drop > level}):
        eased = replace(request, limits=replace(request.limits, accuracy_drop=drop))
        first = _choices(eased, offers, server, drop)[0][0]
        if first.feasible:
            split = first.candidate.name
            return f"{message}; with max_accuracy_drop {drop:g}, {split} would keep them"
    return message


def _figures(choice: Choice, offer: Offer) -> dict[str, Any]:
    cost, candidate = choice.cost, choice.candidate
    return {
        **asdict(offer.pattern),
        "head_bytes": candidate.head_bytes,
        "payload_bytes": candidate.payload_bytes,
        "accuracy_drop": candidate.accuracy_drop,
        "latency_s": cost.latency_s,
        "energy_j": cost.energy_j,
        **asdict(cost),
        "objective": choice.objective,
    }


def _profile(given: object, kind: str, shipped: Any, from_dict: Any) -> Any:
    """A profile by a shipped name, or of figures, whose source is the request."""
    if isinstance(given, str):
        return shipped(given)
    if not isinstance(given, dict):
        raise ArgumentError(f"{kind} is {shown(given)}: expected a name or an object of figures")
    texts = ("description", "sources", "model_times")
    sources = {name: "the request" for name in given if name not in texts}
    return from_dict("of the request", {**given, "sources": sources})


def _table(top: Mapping[str, Any], name: str, known: Sequence[str]) -> dict[str, Any]:
    table = top.get(name, {})
    if not isinstance(table, dict):
        raise ArgumentError(f"{name} is {shown(table)}: expected an object")
    check_keys(name, table, needed=(), known=known)
    return table


def _check_figures(where: str, value: object) -> None:
    """Raise ArgumentError for numbers that no unit explains, wherever they are."""
    if isinstance(value, dict):
        for name, one in value.items():
            _check_figures(f"{where}: {name[:80]}", one)
    elif isinstance(value, list):
        for one in value:
            _check_figures(where, one)
    elif isinstance(value, (int, float)) and value and not _LEAST <= abs(value) <= _MOST:
        raise ArgumentError(
            f"{where} is {shown(value)}: expected 0, or {_LEAST:g} to {_MOST:g} in SI units"
        )
