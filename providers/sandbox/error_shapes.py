"""
An error in each of the shapes that clients of these services have met.

Source: docs.runflow.io concepts/errors (envelope), Runflow's SDK and proxy (nested, flat), reports of its users
(detail), Prodia's own client in its versions (multipart, history), the AI SDK (message); read 2026-11-20.
"""

from __future__ import annotations

from typing import Any

import orjson

from providers.sandbox.answer import Answer, json_answer, text_answer
from providers.sandbox.multipart import Part, write_parts


def shaped(shape: str, status: int, words: str) -> Answer:
    """Return an error of *status* that says *words* in *shape*."""
    if shape == "text":
        return text_answer(words, status=status)
    bodies: dict[str, Any] = {
        "envelope": {"code": "BAD_REQUEST", "message": words, "errors": None},
        "nested": {"error": {"code": "BAD_REQUEST", "message": words}},
        "flat": {"error": words, "code": "BAD_REQUEST"},
        "detail": {"detail": [{"loc": ["body", "input"], "msg": words, "type": "value_error"}]},
        "history": {"state": {"current": "failed", "history": [{"current": "failed", "message": words}]}},
        "message": {"message": words, "detail": words},
        "multipart": {"state": {"current": "failed"}, "error": words},
    }
    if shape == "multipart":
        content_type, body = write_parts((Part("job", "job.json", "application/json", orjson.dumps(bodies[shape])),))
        return Answer(body, media_type=content_type, status=status)
    return json_answer(bodies[shape], status=status)
