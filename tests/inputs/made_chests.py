"""Drawn chests whose framing is known."""

from __future__ import annotations

import numpy as np


def chest(edge=96, *, zoom=1.0, down=0.0, white="", side=0):
    """One image `(edge, edge)`: a trunk from 0.1 to 0.9 of the width, lungs from 0.2 to 0.75 of the height.

    Args:
        edge: pixels.
        zoom: enlargement about the centre.
        down: how far everything is lower, a fraction of the edge.
        white: the lungs (`left`, `right`) that are nearly as bright as the trunk.
        side: gray level beside the trunk.
    """
    y, x = np.mgrid[0:edge, 0:edge] / edge - 0.5
    y, x = (y - down) / zoom, x / zoom
    image = np.where(np.abs(x) < 0.4, 150.0, side)
    for name, at in (("left", -0.2), ("right", 0.2)):
        lung = (np.abs(x - at) < 0.14) & (y > -0.3) & (y < 0.25)
        image[lung] = 140 if name in white else 60
    return image + np.random.default_rng(0).normal(0, 2, image.shape).clip(-4, 4)


def chests(n, *, edge=48, seed=0, spread=0.01, low=(0.0, 0.0), large=(1.0, 1.0)):
    """Images `(2 n, edge, edge, 1)` uint8 of two classes and their labels; every image has its own place and size.

    Args:
        n: images of each class.
        edge: pixels.
        seed: of all.
        spread: standard deviation of the place (fraction of the edge) and of the zoom within a class.
        low: by class, how far down the chest lies.
        large: by class, the zoom.
    """
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(2, dtype=np.int32), n)
    made = []
    for label in labels:
        image = chest(edge, zoom=large[label] + rng.normal(0, spread), down=low[label] + rng.normal(0, spread))
        made.append(np.clip(image + rng.normal(0, 6) + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8))
    return np.stack(made)[..., None], labels
