"""What a person chooses a split point from: the layer report of a model.

>>> report = layer_report("model.tflite", inputs)           # doctest: +SKIP
>>> report.split_points[3].coded                            # doctest: +SKIP
"""

from __future__ import annotations

from pysplitcodec.report.layer_report import LayerReport, SplitPoint, layer_report

__all__ = ["LayerReport", "SplitPoint", "layer_report"]
