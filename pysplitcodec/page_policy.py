"""Content security policies of pages that hold their own scripts and styles."""

from __future__ import annotations

import base64
import hashlib

__all__ = ["source_hash"]


def source_hash(text: str) -> str:
    """What a content security policy calls the script or style `text`."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
