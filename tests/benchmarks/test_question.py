"""The benchmarks' question and answer are what they claim to be."""

import base64
import io
import json

import numpy as np
from PIL import Image
from python_multipart.multipart import MultipartParser

from tests.benchmarks import litellm, question


def test_the_picture_is_within_prodias_limits() -> None:
    """The request carries a PNG of 256 x 256 pixels, of about 1 KB."""
    body = json.loads(question.request_body())
    data = base64.b64decode(body["image"]["data"])

    with Image.open(io.BytesIO(data)) as picture:
        assert (picture.format, picture.size) == ("PNG", (256, 256))
    assert 800 <= len(data) <= 1200


def test_the_upstreams_answer_holds_the_right_mask() -> None:
    """The answer is about 1.5 KB of multipart: a job, then a PNG mask with as many white pixels as the disc has."""
    parts: list[bytearray] = []
    answer = question.upstream_answer()
    parser = MultipartParser(
        question.BOUNDARY.encode(),
        {
            "on_part_begin": lambda: parts.append(bytearray()),
            "on_part_data": lambda data, start, end: parts[-1].extend(data[start:end]),
        },
    )
    parser.write(answer)
    parser.finalize()
    job, mask = parts

    assert 1400 <= len(answer) <= 1600
    assert json.loads(job)["price"] == {"product": "inference-sam3-segment-v1", "dollars": 0.0011}
    with Image.open(io.BytesIO(bytes(mask))) as read:
        assert ("L", question.area()) == (read.mode, int(np.count_nonzero(np.asarray(read) == 255)))


def test_litellms_answer_is_as_long_as_maskgates() -> None:
    """The chat completion has the length that was asked for, and is JSON."""
    answer = litellm.upstream_answer(1471)

    assert len(answer.body) == 1471
    assert json.loads(answer.body)["object"] == "chat.completion"
