"""Where a model can be cut, and cutting it.

Importing this package imports neither LiteRT nor flatbuffers nor torch; the functions import
what they need when called.
"""

from __future__ import annotations

from pysplitcodec.split.tflite import Cut, Split, list_cuts, split

__all__ = ["Cut", "Split", "list_cuts", "split"]
