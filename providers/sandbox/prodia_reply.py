"""
The reply to a Prodia job: multipart, the bytes of a picture, or the job alone.

Source: docs.prodia.com reference/inference, reference/price; what the npm client `prodia` 1.6.0 sends and accepts; what
callers report of `Accept: image/png`; read 2026-11-20. Masks are PNG whatever picture is asked for, as the guide
"Segmenting Images" says. Invented: `mask_N.png` as file names, and the reply to a picture's type when there are several
masks (the first one) or none (multipart), to `application/json`, and to no type when there is no mask (the job alone
where there could be none, multipart where there could). A picture that was made is JPEG, which the client's readme
calls the default; that no other format is made is invented, and so is `output_N.jpg`.
"""

from __future__ import annotations

from itertools import cycle, islice

from providers.sandbox.answer import Answer, mask_headers
from providers.sandbox.faults import Fault, Kind, PartsForm, find
from providers.sandbox.multipart import Part, write_parts
from providers.sandbox.prodia_job import TYPES
from providers.sandbox.prodia_work import Done

_THOUSAND = 1000


def reply(done: Done, accept: str, *, priced: bool, faults: tuple[Fault, ...]) -> Answer:
    """Write the answer in the form that *accept* asks for, or that a fault gives it."""
    record = done.record(priced=priced, faults=faults)
    headers = mask_headers(done.by)
    shows = (done.told.id,) if done.told.state == "completed" else ()
    if _wants_json(accept, done) or find(faults, Kind.JSON_REPLY) is not None:
        return Answer(record, media_type="application/json", headers=headers, shows=shows)
    files = done.files
    if files and (_wants_picture(accept, len(files)) or find(faults, Kind.RAW_PNG) is not None):
        return Answer(files[0].data, media_type=files[0].media_type, headers=headers, shows=shows)
    form = find(faults, Kind.PARTS)
    content_type, body = write_parts(_parts(record, done, None if form is None else PartsForm(form["form"])))
    return Answer(body, media_type=content_type, headers=headers, shows=shows)


def job_part(record: bytes) -> Part:
    """Return the part that holds a job's record."""
    return Part("job", "job.json", "application/json", record)


def file_name(number: int, *, made: bool) -> str:
    """Return the file name of the output of that number, counted from 0: of a *made* picture or of a mask."""
    return f"output_{number}.jpg" if made else f"mask_{number}.png"


def _first_type(accept: str) -> str:
    """Return the first media type of an Accept header, without its parameters."""
    return accept.split(",", 1)[0].split(";", 1)[0].strip().lower()


def _wants_json(accept: str, done: Done) -> bool:
    """Say whether the job alone is asked for."""
    wanted = _first_type(accept)
    return wanted == "application/json" or (wanted in ("", "*/*") and done.job.picture is None and not done.files)


def _wants_picture(accept: str, count: int) -> bool:
    """Say whether the bytes of a picture are asked for."""
    wanted = _first_type(accept)
    return wanted.startswith("image/") or (wanted in ("", "*/*") and count == 1)


def _parts(record: bytes, done: Done, form: PartsForm | None) -> tuple[Part, ...]:
    """Return the parts of a reply, as a fault has them."""
    files, made = done.files, TYPES[done.job.type].makes
    if form is PartsForm.NONE:
        return ()
    if form is PartsForm.THOUSAND:
        files = tuple(islice(cycle(files), _THOUSAND)) if files else ()
    job = job_part(record)
    outputs = [
        Part("output", file_name(number, made=made), file.media_type, file.data) for number, file in enumerate(files)
    ]
    match form:
        case PartsForm.REVERSED:
            return (*outputs, job)
        case PartsForm.DUPLICATE_NAMES:
            outputs = [Part("output", "mask.png", part.media_type, part.data) for part in outputs]
        case PartsForm.FOREGROUND:
            named = zip(cycle(("mask", "foreground")), outputs, strict=False)  # the names never end
            outputs = [Part(name, f"{name}.png", part.media_type, part.data) for name, part in named]
        case PartsForm.NO_FILENAME:
            job = Part("job", None, job.media_type, record)
            outputs = [Part("output", None, part.media_type, part.data) for part in outputs]
        case PartsForm.JOB_ONLY:
            outputs = []
        case _:
            pass
    return (job, *outputs)
