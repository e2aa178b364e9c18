"""Nearest centroids, as training needs them: with gradients."""

from __future__ import annotations

import torch
from torch import Tensor


def nearest(feature: Tensor, centroids: Tensor) -> Tensor:
    """Index of the nearest centroid of each element: int64, of the feature's shape.

    feature: [n, c, h, w].  centroids: ascending, [k], or [c, k] for a codebook per channel.  No
    gradient.  Elements in the middle may go either way here; the codec's core says which way.
    """
    with torch.no_grad():
        middles = (centroids[..., 1:] + centroids[..., :-1]) / 2
        if centroids.dim() == 1:
            return torch.bucketize(feature.contiguous(), middles)
        by_channel = feature.transpose(0, 1).flatten(1).contiguous()
        found = torch.searchsorted(middles.contiguous(), by_channel)
        return found.view(feature.shape[1], feature.shape[0], *feature.shape[2:]).transpose(0, 1)


def look_up(indices: Tensor, centroids: Tensor) -> Tensor:
    """The centroids of indices [n, c, h, w], with gradients to `centroids`."""
    if centroids.dim() == 1:
        return centroids[indices]
    channel = torch.arange(len(centroids), device=indices.device)[:, None, None]
    return centroids[channel, indices]


def gap(centroids: Tensor) -> Tensor:
    """The mean distance of neighbouring centroids: a scalar, or [c, 1, 1]."""
    ends = (centroids[..., -1] - centroids[..., 0]) / (centroids.shape[-1] - 1)
    return ends if centroids.dim() == 1 else ends[:, None, None]
