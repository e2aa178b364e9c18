"""What became of every simulated input, and what that comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = NDArray[np.float64]

# In the order of an input's way; `Result.records` says what they are.
FIELDS = (
    "arrival_s",
    "taken_s",
    "head_s",
    "code_s",
    "send_s",
    "sent_s",
    "serve_s",
    "answer_s",
    "energy_j",
    "price",
    "dropped",
)
_RECORD = np.dtype(
    [
        ("edge", np.int32),
        *((name, np.float64) for name in FIELDS if name != "dropped"),
        ("dropped", np.bool_),
    ]
)


@dataclass(frozen=True)
class Summary:
    """Of some inputs; what is not known, or of no input, is None.

    answered, dropped, in_flight: of `inputs`; together they are all.  latency_s: from arrival to
    answer, the mean; p50_s, p95_s, p99_s: its percentiles.  frames_per_s: answers after the first,
    over the time since it.  energy_j, price: means of answered inputs.
    """

    inputs: int
    answered: int
    dropped: int
    in_flight: int
    latency_s: float | None
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    frames_per_s: float | None
    energy_j: float | None
    price: float | None

    @property
    def drop_share(self) -> float:
        """Of the inputs; 0 if there are none."""
        return self.dropped / self.inputs if self.inputs else 0.0


@dataclass(frozen=True)
class Result:
    """What became of the inputs of a simulation.

    records: structured array, one row for each input that arrived, those of one edge together and
    in order.  Fields: `edge`, its number; when, in seconds from the start, the input arrived
    (`arrival_s`), was taken by the device, which then waits for weights that are due (`taken_s`),
    when its head (`head_s`), its coding (`code_s`), its sending (`send_s`) and its tail (`serve_s`)
    began, when its last bit was sent (`sent_s`) and when its answer came (`answer_s`); `energy_j`
    of the device, the weights' included, and `price` of the server, once they are spent; and
    `dropped`.  NaN: not known, or not yet.
    seconds: simulated.  link_utilisation: for each link the share of time in which a payload had
    it.  server_utilisation: share of the workers' time in which they ran tails.
    """

    records: NDArray[Any]
    seconds: float
    link_utilisation: tuple[float, ...]
    server_utilisation: float

    def summary(self, edge: int | None = None) -> Summary:
        """Of all inputs, or of those of one edge."""
        found = self.records
        if edge is not None:
            found = found[found["edge"] == edge]
        done = found[np.isfinite(found["answer_s"])]
        dropped = int(found["dropped"].sum())
        latency_s = done["answer_s"] - done["arrival_s"]
        since_s = float(np.ptp(done["answer_s"])) if len(done) else 0.0
        return Summary(
            len(found),
            len(done),
            dropped,
            len(found) - len(done) - dropped,
            _mean(latency_s),
            *_percentiles(latency_s),
            (len(done) - 1) / since_s if since_s else None,
            _mean(done["energy_j"]),
            _mean(done["price"]),
        )


def as_records(table: Columns) -> NDArray[Any]:
    """Records of a table [edges, inputs, FIELDS] with NaN for inputs that did not arrive."""
    came = np.isfinite(table[:, :, 0])
    found = np.zeros(int(came.sum()), _RECORD)
    found["edge"] = np.nonzero(came)[0]
    for number, name in enumerate(FIELDS):
        column = table[:, :, number][came]
        found[name] = column == 1 if name == "dropped" else column
    return found


def _percentiles(values: NDArray[Any]) -> tuple[float | None, float | None, float | None]:
    if not len(values):
        return None, None, None
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return float(p50), float(p95), float(p99)


def _mean(values: NDArray[Any]) -> float | None:
    """None for none, and where one is not known."""
    return None if not len(values) or np.isnan(values).any() else float(values.mean())
