"""What a server says: one line for each thing, as text or JSON, and refusals not over and over."""

from __future__ import annotations

import json
import logging
import time
from collections import OrderedDict

__all__ = ["Refusals", "set_up_logging"]

_log = logging.getLogger("pysplitcodec.serve")

# Of each client and status so many refusals are logged in so many seconds, the others counted.
_SHOWN = 5
_QUIET_S = 60.0
_CLIENTS = 1024


class Refusals:
    """Logs refusals, but not over and over."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, int], list[float]] = OrderedDict()

    def log(self, client: str, status: int, where: str, why: str) -> None:
        """One refusal.  where: method and path, as they may be quoted."""
        now, key = time.monotonic(), (client, status)
        since, count = self._seen.pop(key, (now, 0))
        begins = now - since >= _QUIET_S
        more = max(0, int(count) - _SHOWN) if begins else 0
        self._seen[key] = [now, 1] if begins else [since, count + 1]
        if len(self._seen) > _CLIENTS:
            self._seen.popitem(last=False)
        if not begins and count >= _SHOWN:
            return
        said = f" ({more} more that were not logged)" if more else ""
        fields = {"client": client, "status": status, "where": where, "not_logged": more}
        _log.warning("%s %s: %d %s%s", client, where, status, why, said, extra={"fields": fields})


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            said["error"] = self.formatException(record.exc_info)
        return json.dumps(said)


def set_up_logging(as_json: bool) -> None:
    """Log to stderr, unless the process has its own way: lines of text, or of JSON."""
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(_Json() if as_json else text)
    logging.basicConfig(handlers=[handler])
