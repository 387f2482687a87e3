"""The few colours that a picture is made of, and which of them each pixel has. Pure, and the same every time."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from providers.local.scaling import Pixels, grown, shrunk

_SEED = 0
_SIDE = 256
"""Pixels of the longest side at which mean shift looks for the colours."""
_COLOURS = 8
_REACH = 12
"""Radius of mean shift in pixels of that size."""
_TOLERANCE = 18
"""Radius of mean shift in Lab, 8 bits a channel."""

_Labels = npt.NDArray[np.uint8]
_Centres = npt.NDArray[np.float32]


def colour_labels(rgb: Pixels) -> _Labels:
    """
    Return the number of each pixel's colour, `(height, width)`, from 0 to at most 7.

    Mean shift and k-means work on a small picture. Its labels are blocks on the large one, so the pixels beside the
    border of two labels choose again, by their own colour, among the labels around them.
    """
    small = shrunk(rgb, _SIDE)
    coarse, centres = _coarse_labels(small)
    height, width = rgb.shape[:2]
    labels = grown(coarse, (height, width))
    if small.shape == rgb.shape:
        return labels
    return _with_sharp_borders(labels, centres, rgb, reach=1 + round(max(height, width) / _SIDE))


def _coarse_labels(small: Pixels) -> tuple[_Labels, _Centres]:
    """Find the colours in Lab, and label every pixel with the nearest of them after mean shift."""
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    # At one level: the pyramid of more is quicker, and mixes colours along the borders that the picture does not have.
    smooth = cv2.pyrMeanShiftFiltering(lab, _REACH, _TOLERANCE, maxLevel=0)
    samples = smooth.reshape(-1, 3).astype(np.float32)
    different = np.unique(samples @ np.array((65536, 256, 1), np.float64)).size
    if different == 1:  # nothing to tell apart; and k-means reads a single sample as three numbers
        return np.zeros(small.shape[:2], np.uint8), samples[:1]
    cv2.setRNGSeed(_SEED)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 10, 1.0)
    _, labels, centres = cv2.kmeans(
        samples, min(_COLOURS, different), np.empty(0, np.int32), stop, 1, cv2.KMEANS_PP_CENTERS
    )
    return labels.reshape(small.shape[:2]).astype(np.uint8), centres.astype(np.float32, copy=False)


def _with_sharp_borders(labels: _Labels, centres: _Centres, rgb: Pixels, *, reach: int) -> _Labels:
    """Label the pixels within *reach* of another label anew, by their own colour."""
    around = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    at_border = cv2.dilate(labels, around) != cv2.erode(labels, around)
    lab = cv2.cvtColor(cv2.medianBlur(rgb, 5), cv2.COLOR_RGB2LAB)
    colours = lab[at_border].astype(np.float32)
    distances = (centres**2).sum(axis=1) - 2 * colours @ centres.T  # less the colour's own square, the same for all
    for label in range(len(centres)):
        near = cv2.dilate((labels == label).astype(np.uint8), around)
        distances[near[at_border] == 0, label] = np.inf
    sharp = labels.copy()
    sharp[at_border] = distances.argmin(axis=1)
    return sharp
