"""
Masks of a fitted picture → masks of the upright one. Belongs on a worker thread where they are large.

- What was padded is cut off.
- What was scaled up comes back exactly: a pixel is on the object when at least half of its block is.
- What was scaled down is brought up by linear interpolation and cut at one half, which follows an outline closer than
  its nearest pixels do.

Only the part of a picture that holds the object is looked at: an object is a small part of most pictures.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from gateway.fitting.geometry import Geometry
from gateway.fitting.rendering import Fitted
from providers.contract import Bitmap, Box, Instance, Mask, Question, Segmentation


def to_fitted(question: Question, fitted: Fitted) -> Question:
    """Return the question about the fitted picture."""
    return replace(question, picture=fitted.picture, prompt=fitted.geometry.prompt(question.prompt))


def to_upright(segmentation: Segmentation, fitted: Fitted) -> Segmentation:
    """Return the answer about the upright picture, with a warning; objects of which nothing is left are left out."""
    instances = [_brought_back(instance, fitted.geometry) for instance in segmentation.instances]
    kept = tuple(instance for instance in instances if instance.mask.area > 0)
    warnings = [*segmentation.warnings, fitted.warning]
    if len(kept) < len(instances):
        lost = len(instances) - len(kept)
        warnings.append(f"{lost} mask(s) with no pixel inside the picture at its own size were left out.")
    return Segmentation(kept, tuple(warnings))


def _brought_back(instance: Instance, geometry: Geometry) -> Instance:
    return replace(instance, mask=mask_back(instance.mask, geometry))


def mask_back(mask: Mask, geometry: Geometry) -> Mask:
    """
    Return a mask of the upright picture.

    Args:
        mask: of the fitted picture: `canvas` as `(height, width)`.
        geometry: how the fitted picture came about.
    """
    if not geometry.scaled and not geometry.padded:
        return mask
    box = _inside(mask.box, geometry)
    if box is None:
        return _painted(np.zeros((0, 0), np.uint8), 0, 0, geometry.size)
    bitmap = mask.bitmap[: geometry.content[1], : geometry.content[0]]
    if geometry.blocks > 1:
        return _from_blocks(bitmap, box, geometry)
    if geometry.scaled:
        return _from_smaller(bitmap, box, geometry)
    crop = bitmap[box.y_min : box.y_max, box.x_min : box.x_max]
    return _painted(crop, box.x_min, box.y_min, geometry.size)


def _inside(box: Box | None, geometry: Geometry) -> Box | None:
    """Return the part of the box that is not in the padding; None where there is none."""
    if box is None or box.x_min >= geometry.content[0] or box.y_min >= geometry.content[1]:
        return None
    return Box(box.x_min, box.y_min, min(box.x_max, geometry.content[0]), min(box.y_max, geometry.content[1]))


def _from_blocks(bitmap: Bitmap, box: Box, geometry: Geometry) -> Mask:
    blocks = geometry.blocks
    left, top = box.x_min // blocks, box.y_min // blocks
    right, bottom = -(-box.x_max // blocks), -(-box.y_max // blocks)
    crop = bitmap[top * blocks : bottom * blocks, left * blocks : right * blocks]
    counted = crop.reshape(bottom - top, blocks, right - left, blocks).sum(axis=(1, 3), dtype=np.int64)
    return _painted((2 * counted >= blocks * blocks).astype(np.uint8), left, top, geometry.size)


def _from_smaller(bitmap: Bitmap, box: Box, geometry: Geometry) -> Mask:
    """Return the mask that a smaller one stands for, by interpolation between the centres of its pixels."""
    (width, height), (content_width, content_height) = geometry.source, geometry.content
    # One pixel around the object, so that its outline lies between two pixels that are there; none beyond the picture.
    x_min, y_min = max(0, box.x_min - 1), max(0, box.y_min - 1)
    x_max, y_max = min(content_width, box.x_max + 1), min(content_height, box.y_max + 1)
    left, top = x_min * width // content_width, y_min * height // content_height
    right, bottom = -(-x_max * width // content_width), -(-y_max * height // content_height)
    across, down = content_width / width, content_height / height
    levels = cv2.warpAffine(
        bitmap[y_min:y_max, x_min:x_max] * np.uint8(255),
        np.array(
            [
                [across, 0.0, (left + 0.5) * across - 0.5 - x_min],
                [0.0, down, (top + 0.5) * down - 0.5 - y_min],
            ]
        ),
        (right - left, bottom - top),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    solid: npt.NDArray[np.bool_] = levels >= 128
    return _painted(solid.view(np.uint8), left, top, geometry.size)


def _painted(crop: Bitmap, left: int, top: int, size: tuple[int, int]) -> Mask:
    """
    Return the mask of *size*, `(height, width)`, that is empty but for *crop* at that place.

    Each column of the crop is read by itself, with background before and after it. Where it ends at the bottom and the
    next one begins at the top, the two edges are one place in the order of COCO's runs, and cancel out.
    """
    height, width = size
    columns = np.zeros((crop.shape[1], crop.shape[0] + 2), np.uint8)
    columns[:, 1:-1] = cv2.transpose(crop) if crop.size else crop.T
    steps = columns.shape[1] - 1
    column, row = np.divmod(np.flatnonzero(columns[:, 1:] != columns[:, :-1]), steps)
    edges = (column + left) * height + row + top
    twice = edges[1:] == edges[:-1]
    single = np.ones(edges.size, np.bool_)
    single[1:] &= ~twice
    single[:-1] &= ~twice
    bounds = np.concatenate((np.zeros(1, np.int64), edges[single], np.full(1, height * width, np.int64)))
    runs = bounds[1:] - bounds[:-1]
    return Mask(size, runs[:-1] if runs.size > 1 and runs[-1] == 0 else runs)
