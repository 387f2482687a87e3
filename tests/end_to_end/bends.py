"""The ways in which an answer is bent on the wire: framing, bodies, masks, records. Each is a `crooked.Bend`."""

import base64
import gzip
import io
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import orjson
from PIL import Image

from tests.end_to_end.crooked import Bend, Genuine

Edit = Callable[[dict[str, Any]], None]
"""Changes a record in place."""

MEGABYTE = 1_000_000


def answer(status: int, body: bytes = b"", kind: str = "text/plain", **headers: str) -> Bend:
    """Answer this whatever the truth is; `_` in a header's name stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    message = Genuine(status, {"content-type": kind, **named}, body).message()
    return lambda _: message


def nothing(_: Genuine) -> bytes:
    """Say nothing at all."""
    return b""


def whole(genuine: Genuine) -> bytes:
    """Say the truth."""
    return genuine.message()


def half(genuine: Genuine) -> bytes:
    """Break off in the middle of the body."""
    return genuine.head(length=len(genuine.body)) + genuine.body[: len(genuine.body) // 2]


def head_alone(genuine: Genuine) -> bytes:
    """Promise a body, and send none."""
    return genuine.head(length=len(genuine.body))


def measured(surplus: int) -> Bend:
    """Promise so many bytes more than there are."""
    return lambda genuine: genuine.head(length=len(genuine.body) + surplus) + genuine.body


def chunked(tail: bytes) -> Bend:
    """Send the body as one chunk, and then *tail* in the place of the last chunk."""

    def bend(genuine: Genuine) -> bytes:
        chunk = f"{len(genuine.body):x}\r\n".encode() + genuine.body + b"\r\n"
        return genuine.head(extra=["Transfer-Encoding: chunked"]) + chunk + tail

    return bend


def packed(*, times: int = 1) -> Bend:
    """Compress the body, which nobody has asked for."""

    def bend(genuine: Genuine) -> bytes:
        body = genuine.body
        for _ in range(times):
            body = gzip.compress(body, mtime=0)
        encoding = ", ".join(["gzip"] * times)
        return replace(genuine, body=body, headers={**genuine.headers, "content-encoding": encoding}).message()

    return bend


def bomb(genuine: Genuine) -> bytes:
    """Send 600 MB of zeros, which gzip makes a few megabytes of."""
    return replace(genuine, body=_zeros(), headers={**genuine.headers, "content-encoding": "gzip"}).message()


@cache
def _zeros() -> bytes:
    packer = zlib.compressobj(1, wbits=31)
    block = bytes(10 * MEGABYTE)
    return b"".join(packer.compress(block) for _ in range(60)) + packer.flush()


def labelled(kind: str) -> Bend:
    """Call the body something else."""
    return lambda genuine: replace(genuine, headers={**genuine.headers, "content-type": kind}).message()


def saying(body: bytes, kind: str | None = None) -> Bend:
    """Send another body under the true head."""

    def bend(genuine: Genuine) -> bytes:
        return replace(genuine, body=body, headers={**genuine.headers, "content-type": kind or genuine.kind}).message()

    return bend


def old(genuine: Genuine) -> bytes:
    """Speak HTTP/1.0: the body ends with the connection."""
    return genuine.head(version="HTTP/1.0") + genuine.body


def after(prelude: bytes) -> Bend:
    """Send *prelude* before the truth."""
    return lambda genuine: prelude + genuine.message()


def with_header(name: str, length: int) -> Bend:
    """Add a header of so many bytes."""
    return lambda genuine: replace(genuine, headers={**genuine.headers, name: "x" * length}).message()


# Records: a run of Runflow, its older flat answer, or the part `job` of Prodia.


def record(edit: Edit) -> Bend:
    """Change the record; one of a run that has not succeeded yet is left as it is."""

    def edited(written: bytes) -> bytes:
        value = orjson.loads(written)
        if value.get("status_code", "succeeded") == "succeeded":
            edit(value)
        return orjson.dumps(value)

    return rewritten(edited)


def rewritten(change: Callable[[bytes], bytes]) -> Bend:
    """Change the JSON text of the record."""

    def bend(genuine: Genuine) -> bytes:
        if not genuine.kind.startswith("multipart/"):
            return replace(genuine, body=change(genuine.body)).message()
        return parts(lambda all_parts: [change_job(part, change) for part in all_parts])(genuine)

    return bend


def found_in(value: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a record that names the masks."""
    output = value.get("output")
    return value if output is None else output["model_data"]


def model_data(edit: Edit) -> Bend:
    """Change what a record says of the masks."""
    return record(lambda value: edit(found_in(value)))


def state(name: str, **values: Any) -> Bend:
    """Say that the run, however it stands, stands so."""

    def change(written: bytes) -> bytes:
        return orjson.dumps({**orjson.loads(written), "status_code": name, "output": None, **values})

    return rewritten(change)


def going_back(genuine: Genuine) -> bytes:
    """Say that the run succeeded, its masks nowhere; and when it is asked to sign anew, that it still runs."""
    if "add_signature" in genuine.target:
        return state("running", cost=None)(genuine)
    return model_data(all_urls("http://127.0.0.1:1/gone.png"))(genuine)


def without(*names: str) -> Edit:
    """Leave members out."""

    def edit(value: dict[str, Any]) -> None:
        for name in names:
            value.pop(name, None)

    return edit


def putting(**values: Any) -> Edit:
    """Put values in the place of what is there."""
    return lambda value: value.update(values)


def all_urls(url: str) -> Edit:
    """Name one address for every mask."""

    def edit(value: dict[str, Any]) -> None:
        for mask in value["masks"]:
            mask["url"] = url

    return edit


def copied(count: int) -> Edit:
    """Name so many masks: the true one first, and then as many others at addresses of their own."""

    def edit(value: dict[str, Any]) -> None:
        (true,) = value["masks"]
        others = [{**true, "url": mask_uri(_file(_other(number)))} for number in range(count - 1)]
        value["masks"] = [true, *others]
        value["scores"] = [0.9] * count
        value["boxes"] = value["metadata"] = None

    return edit


# Multipart.

Part = tuple[bytes, bytes]
"""The header lines of a part, and its content."""


def parts(change: Callable[[list[Part]], list[Part]], *, preamble: bytes = b"", epilogue: bytes = b"") -> Bend:
    """Change the parts of a multipart answer."""

    def bend(genuine: Genuine) -> bytes:
        boundary = _boundary(genuine)
        written = b"".join(
            b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n"
            for head, content in change(_parts(genuine, boundary))
        )
        return replace(genuine, body=preamble + written + b"--" + boundary + b"--\r\n" + epilogue).message()

    return bend


def change_job(part: Part, change: Callable[[bytes], bytes]) -> Part:
    """Change the content of a part that is called `job`."""
    head, content = part
    return (head, change(content)) if b'name="job"' in head else part


def outputs(files: Callable[[list[bytes]], list[bytes]]) -> Bend:
    """Change the files of a multipart answer."""

    def change(all_parts: list[Part]) -> list[Part]:
        job = [part for part in all_parts if b'name="job"' in part[0]]
        told = [content for head, content in all_parts if b'name="job"' not in head]
        head = b'Content-Disposition: form-data; name="output"; filename="mask.png"\r\nContent-Type: image/png'
        return [*job, *((head, content) for content in files(told))]

    return parts(change)


def named(pattern: bytes, replacement: bytes) -> Bend:
    """Change the header lines of the parts with files."""

    def change(part: Part) -> Part:
        return part if b'name="job"' in part[0] else (re.sub(pattern, replacement, part[0]), part[1])

    return parts(lambda all_parts: [change(part) for part in all_parts])


def _boundary(genuine: Genuine) -> bytes:
    found = re.search(r'boundary="?([^";]+)', genuine.kind)
    assert found is not None
    return found[1].encode()


def _parts(genuine: Genuine, boundary: bytes) -> list[Part]:
    pieces = (b"\r\n" + genuine.body).split(b"\r\n--" + boundary)[1:-1]
    heads = [piece.removeprefix(b"\r\n").partition(b"\r\n\r\n") for piece in pieces]
    return [(head, content) for head, _, content in heads]


# Mask files.

Form = Callable[[np.ndarray], bytes]
"""Returns a file of a mask: `(height, width)`, 0 and 255."""


def masks(form: Form) -> Bend:
    """Send every mask in another form, as the file that was downloaded or in the parts of an answer."""

    def formed(data: bytes) -> bytes:
        with Image.open(io.BytesIO(data)) as picture:
            return form(np.asarray(picture.convert("L")))

    def bend(genuine: Genuine) -> bytes:
        if genuine.kind.startswith("multipart/"):
            return outputs(lambda files: [formed(data) for data in files])(genuine)
        return replace(genuine, body=formed(genuine.body)).message()

    return bend


def many(count: int) -> Bend:
    """Send so many files: the true one first, and then as many others."""
    return outputs(lambda files: [files[0], *(_file(_other(number)) for number in range(count - 1))])


def mask_uri(data: bytes) -> str:
    """Return a file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(data).decode()


def _other(number: int) -> np.ndarray:
    """Return a small mask that differs from every other one."""
    levels = np.zeros((64, 64), np.uint8)
    levels[number, : number + 1] = 255
    return levels


def _file(levels: np.ndarray, kind: str = "PNG", mode: str | None = None, **options: Any) -> bytes:
    """Write a picture file."""
    picture = Image.fromarray(levels)
    out = io.BytesIO()
    (picture if mode is None else picture.convert(mode)).save(out, kind, **options)
    return out.getvalue()


def form(kind: str = "PNG", mode: str | None = None, **options: Any) -> Form:
    """Write the mask as it is in another format or mode."""
    return lambda levels: _file(levels, kind, mode, **options)


def bits16(levels: np.ndarray) -> bytes:
    """Write 16 bits a pixel."""
    return _file(levels.astype(np.uint16) * 257)


def palette(levels: np.ndarray) -> bytes:
    """Write places in a palette of black and dark red."""
    picture = Image.fromarray((levels > 0).astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, 128, 0, 0])
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def grey_alpha(levels: np.ndarray) -> bytes:
    """Write white with the mask as its alpha."""
    picture = Image.merge("LA", [Image.new("L", levels.shape[::-1], 255), Image.fromarray(levels)])
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def cut_out(levels: np.ndarray) -> bytes:
    """Write a coloured picture, transparent where the mask is not."""
    colours = np.stack([np.full_like(levels, 200), np.full_like(levels, 90), np.full_like(levels, 30), levels], axis=2)
    return _file(colours)


def larger(levels: np.ndarray) -> bytes:
    """Write twice as many pixels each way."""
    return _file(levels.repeat(2, axis=0).repeat(2, axis=1))


def filled(level: int) -> Form:
    """Write one level everywhere."""
    return lambda levels: _file(np.full_like(levels, level))


def truncated(levels: np.ndarray) -> bytes:
    """Write the first half of the file."""
    data = _file(levels)
    return data[: len(data) // 2]


def bad_crc(levels: np.ndarray) -> bytes:
    """Write pixels whose checksum is another's."""
    data = bytearray(_file(levels))
    at = data.index(b"IDAT") - 4
    (length,) = struct.unpack(">I", data[at : at + 4])
    data[at + 8 + length] ^= 0xFF
    return bytes(data)


def claiming(width: int, height: int) -> Form:
    """Write a header of that size, its checksum right."""

    def write(levels: np.ndarray) -> bytes:
        data = _file(levels)
        head = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
        return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]

    return write


def photograph(levels: np.ndarray) -> bytes:
    """Write a picture in colours, which is no mask."""
    height, width = levels.shape
    across = np.tile(np.linspace(0, 255, width, dtype=np.uint8), (height, 1))
    return _file(np.stack([across, 255 - across, np.full_like(across, 90)], axis=2))
