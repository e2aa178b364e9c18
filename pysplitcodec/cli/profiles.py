"""Devices and links as commands take them: a name that is shipped, or a TOML file of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, TypeVar

from pysplitcodec.errors import ArgumentError

if TYPE_CHECKING:
    from pysplitcodec.plan import DeviceProfile, Link

__all__ = ["named_device", "named_link"]

_Profile = TypeVar("_Profile")


def named_device(name: str) -> DeviceProfile:
    """The device; raises ArgumentError if there is none of the name, or not one in the file."""
    from pysplitcodec.plan import get_device, load_devices

    return _found(name, get_device, load_devices, "devices")


def named_link(name: str) -> Link:
    """The link, or one of so many bit/s: "2e6"; raises ArgumentError as `named_device`."""
    from pysplitcodec.plan import Link, get_link, load_links

    try:
        rate = float(name)
    except ValueError:
        return _found(name, get_link, load_links, "links")
    return Link(f"{rate:g} bit/s", bits_per_s=rate)


def _found(
    name: str, get: Callable[[str], _Profile], load: Callable[[str], dict[str, Any]], kind: str
) -> _Profile:
    if not name.endswith(".toml"):
        return get(name)
    found = list(load(name).values())
    if len(found) != 1:
        raise ArgumentError(f"{name} has {len(found)} {kind}: expected one")
    one: _Profile = found[0]
    return one
