"""What sharing a model between device and server costs: time, energy, price, memory.

The one evaluator: TCL, Eq. 12 (time on the device's side); QPART, Eq. 5 to 8 and 14 to 17 (time,
energy and price of weights that are sent down and features that are sent up); Ko et al., 4.1
(throughput of a two-stage pipeline).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from pysplitcodec.errors import ArgumentError
from pysplitcodec.plan.device import DeviceProfile
from pysplitcodec.plan.link import Link
from pysplitcodec.plan.tables import check_count


@dataclass(frozen=True)
class Candidate:
    """One way to share a model: where it is split, and what is sent.

    name: of the split point, or of what is done instead of splitting.  head_macs, tail_macs:
    multiply-accumulates on the device, bottleneck included, and on the server.  elements: of the
    feature.  coder: of its frames, None if nothing is coded.  payload_bytes: sent for one input, or
    the mean of that; 0 if nothing is.  bits: of an index.  head_bytes: the device's weights as they
    are sent and stored.  ram_bytes: the most that the head needs at a time.  accuracy_drop: against
    the whole model, as a share; negative where it gains.  None: not known.

    Raises ArgumentError for negative counts.
    """

    name: str
    head_macs: float
    tail_macs: float
    elements: float = 0
    coder: str | None = None
    payload_bytes: float = 0.0
    bits: int | None = None
    head_bytes: float = 0.0
    ram_bytes: int | None = None
    accuracy_drop: float | None = None

    def __post_init__(self) -> None:
        """Raise ArgumentError on what no model has."""
        counts = ("head_macs", "tail_macs", "elements", "payload_bytes", "head_bytes")
        given = {name: getattr(self, name) for name in counts}
        if self.ram_bytes is not None:
            given["ram_bytes"] = self.ram_bytes
        check_count(f"candidate {self.name}", **given)


@dataclass(frozen=True)
class Cost:
    """Of one input, in seconds, joules and whatever the server's price is in.

    ship_s, ship_j: the head's weights on their way to the device, shared by so many inferences.
    What is not known is None.
    """

    compute_s: float
    codec_s: float = 0.0
    link_s: float = 0.0
    server_s: float = 0.0
    ship_s: float = 0.0
    compute_j: float | None = None
    codec_j: float | None = None
    link_j: float | None = None
    ship_j: float | None = None
    price: float | None = None

    @property
    def latency_s(self) -> float:
        """All parts, one after another."""
        return self.ship_s + self.compute_s + self.codec_s + self.link_s + self.server_s

    @property
    def energy_j(self) -> float | None:
        """The device's; None if a part of it is not known."""
        parts = [getattr(self, f.name) for f in fields(self) if f.name.endswith("_j")]
        return None if None in parts else sum(parts)

    @property
    def frames_per_s(self) -> float:
        """Of a pipeline whose stages overlap: infer; code and send; the server (Ko et al., 4.1)."""
        slowest = max(self.compute_s, self.codec_s + self.link_s, self.server_s)
        return 1 / slowest if slowest else float("inf")

    @property
    def frames_per_j(self) -> float | None:
        """Inputs for a joule of the device's; None if `energy_j` is."""
        energy_j = self.energy_j
        if energy_j is None:
            return None
        return 1 / energy_j if energy_j else float("inf")


def evaluate(
    candidate: Candidate,
    device: DeviceProfile,
    link: Link,
    *,
    server: DeviceProfile | None = None,
    inferences: float | None = None,
) -> Cost:
    """Return what one input costs.

    server: what runs the tail; without it the tail costs nothing (TCL, Eq. 12).  inferences: for
    how many inputs the head's weights are sent once; None: they are there already.  QPART sends
    them for each (Eq. 14), which is 1.

    Raises ArgumentError if a figure that time needs is not known: the MAC/s of device or server, or
    the device's speed with the coder.

    >>> from pysplitcodec.plan import Candidate, DeviceProfile, Link, evaluate
    >>> device = DeviceProfile("d", macs_per_s=1e9, encode_ns_per_element={"lzma": 100.0})
    >>> layer1 = Candidate("layer1", 2e7, 0, elements=1e4, coder="lzma", payload_bytes=1_000)
    >>> cost = evaluate(layer1, device, Link("l", bits_per_s=1e6))
    >>> cost.compute_s, cost.codec_s, cost.link_s, round(cost.latency_s, 6)
    (0.02, 0.001, 0.008, 0.029)
    """
    compute_s = device.compute_s(candidate.head_macs) if candidate.head_macs else 0.0
    codec_s = 0.0
    if candidate.coder is not None:
        codec_s = device.codec_s(candidate.elements, candidate.coder)
    server_s = 0.0
    price: float | None = 0.0
    if server is not None and candidate.tail_macs:
        server_s = server.compute_s(candidate.tail_macs)
        price = None if server.price_per_s is None else server_s * server.price_per_s
    link_s, link_j = _sent(link, candidate.payload_bytes, 1)
    if inferences is not None and not inferences > 0:
        raise ArgumentError(f"inferences is {inferences!r}: expected a number above 0")
    shipped_bytes = 0.0 if inferences is None else candidate.head_bytes
    ship_s, ship_j = _sent(link, shipped_bytes, inferences or 1)

    def energy(seconds: float) -> float | None:
        if not seconds:
            return 0.0
        return None if device.power_w is None else seconds * device.power_w

    return Cost(
        compute_s,
        codec_s,
        link_s,
        server_s,
        ship_s,
        energy(compute_s),
        energy(codec_s),
        link_j,
        ship_j,
        price,
    )


def _sent(link: Link, payload_bytes: float, times: float) -> tuple[float, float | None]:
    """Seconds and joules of what is sent once for so many inputs."""
    if not payload_bytes:
        return 0.0, 0.0
    power_w = link.transmit_power_w
    energy_j = None if power_w is None else power_w * link.airtime_s(payload_bytes) / times
    return link.seconds(payload_bytes) / times, energy_j
