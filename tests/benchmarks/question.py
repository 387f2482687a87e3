"""
The question of W1 and W7 and the upstream's answer to it: one disc in a 256 x 256 picture.

The answer has the form of Prodia's `inference.sam3.segment.v1`: multipart, the `job` first, then one PNG an instance.
Source: https://docs.prodia.com/reference/inference and https://docs.prodia.com/reference/price, read 2026-11. The
figures in the job are made up.
"""

from __future__ import annotations

import base64
import io
import json

import numpy as np
from PIL import Image

SIDE = 256
"""Of the picture, in pixels: the least that Prodia takes."""

PROMPT = "circle"
BOUNDARY = "6f1d2c3b4a59687786958493a2b1c0dfeedccbbaa99887766554433221100"
PRICE_MICROUSD = 1100


def disc() -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Return the object as a `(height, width)` array, true on it."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    inside: np.ndarray[tuple[int, int], np.dtype[np.bool_]] = (columns - 120) ** 2 + (rows - 131) ** 2 <= 70**2
    return inside


def area() -> int:
    """Return the object's area in pixels: what a right answer says."""
    return int(disc().sum())


def picture() -> bytes:
    """Return the picture as a PNG of about 1 KB."""
    colours = np.where(disc()[..., None], (200, 30, 40), (240, 240, 230)).astype(np.uint8)
    return _png(Image.fromarray(colours))


def mask() -> bytes:
    """Return the upstream's mask: an 8-bit grey PNG, 255 on the object."""
    return _png(Image.fromarray(disc().astype(np.uint8) * 255))


def request_body() -> bytes:
    """Return what a caller sends to Maskgate: from Prodia alone, nothing from the cache."""
    return json.dumps(
        {
            "image": {"data": base64.b64encode(picture()).decode("ascii")},
            "prompts": [{"kind": "text", "text": PROMPT}],
            "route": {"deployments": ["prodia"]},
            "cache": {"mode": "skip"},
        }
    ).encode()


def upstream_answer() -> bytes:
    """Return the upstream's answer, about 1.5 KB of `multipart/form-data`."""
    job = {
        "type": "inference.sam3.segment.v1",
        "created_at": "2026-11-20T12:30:00.612Z",
        "updated_at": "2026-11-20T12:30:00.708Z",
        "expires_at": "2026-11-20T12:35:00.612Z",
        "id": "0b6c2f2e-3f0d-4b5e-9a55-1f2d3c4b5a69",
        "state": {"current": "completed"},
        "config": {"prompt": PROMPT, "confidence_threshold": 0.5},
        "metrics": {"elapsed": 0.0884},
        "price": {"product": "inference-sam3-segment-v1", "dollars": PRICE_MICROUSD / 1e6},
    }
    return _multipart(
        ("job", "job.json", "application/json", json.dumps(job).encode()), ("output", "mask_0.png", "image/png", mask())
    )


def upstream_request() -> bytes:
    """Return what goes upstream for this question, for a caller that asks the upstream itself."""
    job = {"type": "inference.sam3.segment.v1", "config": {"prompt": PROMPT, "confidence_threshold": 0.5}}
    return _multipart(
        ("job", "job.json", "application/json", json.dumps(job).encode()),
        ("input", "input.png", "image/png", picture()),
    )


def _multipart(*parts: tuple[str, str, str, bytes]) -> bytes:
    written = b"".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
        f"Content-Type: {media_type}\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, filename, media_type, content in parts
    )
    return written + f"--{BOUNDARY}--\r\n".encode()


def _png(image: Image.Image) -> bytes:
    written = io.BytesIO()
    image.save(written, "PNG", optimize=True)
    return written.getvalue()
