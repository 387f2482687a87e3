"""Faults of the wire that every provider can have: statuses, silence, framing, and bodies that are something else."""

from __future__ import annotations

from collections.abc import Mapping

from providers.sandbox.faults.fields import Field, body, choice, number, one_of, retry_after, text, whole
from providers.sandbox.faults.rules import Kind, Rule, Stage

_ERRORS = "docs.runflow.io concepts/errors; docs.prodia.com reference/inference (statuses)"

STATUSES: Mapping[Kind, Rule] = {
    Kind.STATUS: Rule(
        Stage.INSTEAD,
        "Answers with an error status; nothing is processed or billed.",
        {
            "status": Field(whole(300, 599), "HTTP status"),
            "body": Field(body, "body instead of the provider's usual one for it", required=False),
        },
        source=_ERRORS,
    ),
    Kind.ERROR_SHAPE: Rule(
        Stage.INSTEAD,
        "Answers with an error in another of the shapes that clients of these services have met; nothing is billed.",
        {
            "shape": choice(
                "how it is written", "envelope", "nested", "flat", "detail", "history", "message", "text", "multipart"
            ),
            "status": Field(whole(400, 599), "HTTP status (default 400)", required=False, default=400),
            "message": Field(text(10_000), "its words", required=False, default="the request was not understood"),
        },
        source="docs.runflow.io concepts/errors; the SDKs of both services (the other shapes)",
    ),
    Kind.THROTTLE: Rule(
        Stage.INSTEAD,
        "Answers 429; nothing is processed or billed.",
        {
            "retry_after": Field(
                retry_after, "seconds or an HTTP date for the header; without it none", required=False
            ),
            "form": Field(one_of("seconds", "date"), '"seconds" or "date"', required=False, default="seconds"),
        },
        source="docs.runflow.io concepts/rate-limits; docs.prodia.com reference/price (seconds); RFC 9110 (date)",
    ),
}

SILENCES: Mapping[Kind, Rule] = {
    Kind.LATENCY: Rule(
        Stage.WAIT,
        "Waits before the call is processed; a client that leaves meanwhile was never served nor billed.",
        {"seconds": Field(number(0, 3600), "how long")},
    ),
    Kind.REFUSE: Rule(Stage.LISTENER, "The port refuses connections and open ones end; healing listens again."),
    Kind.SILENCE: Rule(Stage.INSTEAD, "Takes the call and never answers nor processes it; nothing is billed."),
    Kind.RESET_BEFORE: Rule(Stage.INSTEAD, "Resets the connection before the call is processed; nothing is billed."),
    Kind.RESET_AFTER: Rule(Stage.DELIVERY, "Processes and bills, then resets the connection instead of answering."),
    Kind.LOST_ANSWER: Rule(
        Stage.DELIVERY, "Processes and bills, then stays silent on an open connection until the client leaves."
    ),
    Kind.HEADERS_THEN_SILENCE: Rule(
        Stage.DELIVERY, "Processes and bills, then sends the headers and nothing more until the client leaves."
    ),
}

FRAMING: Mapping[Kind, Rule] = {
    Kind.CUT_BODY: Rule(Stage.DELIVERY, "Processes and bills, then closes the connection in the middle of the body."),
    Kind.DRIP: Rule(
        Stage.DELIVERY,
        "Processes and bills, then sends the body slowly.",
        {"bytes_per_second": Field(whole(1, 100_000_000), "how fast")},
    ),
    Kind.CONTENT_LENGTH: Rule(
        Stage.DELIVERY,
        "Processes and bills, then sends a Content-Length that is wrong by some bytes, the whole body, and closes.",
        {"delta": Field(whole(-1_000_000, 1_000_000), "bytes to add to the true length; below 0 to take away")},
    ),
    Kind.CHUNKED: Rule(
        Stage.DELIVERY,
        "Processes and bills, then sends the body in chunks, without a length: a whole answer.",
        {"bytes": Field(whole(1, 1_000_000), "bytes of a chunk (default 1000)", required=False, default=1000)},
        source="RFC 9112, section 7.1",
    ),
    Kind.CHUNK_NEVER_ENDS: Rule(
        Stage.DELIVERY, "Processes and bills, then sends the body in chunks, and never the last one, until one leaves."
    ),
    Kind.BAD_CHUNK: Rule(Stage.DELIVERY, "Processes and bills, then sends a chunk whose size is no number."),
    Kind.GZIP: Rule(
        Stage.DELIVERY,
        "Processes and bills, then sends the body compressed whatever was accepted: a whole answer.",
        {"times": Field(whole(1, 2), "how often it is compressed (default 1)", required=False, default=1)},
        source="RFC 9110, section 8.4",
    ),
    Kind.GZIP_BOMB: Rule(
        Stage.DELIVERY,
        "Processes and bills, then sends a small body that unpacks to spaces without end.",
        {"megabytes": Field(whole(1, 2000), "how much it unpacks to (default 600)", required=False, default=600)},
    ),
    Kind.HTTP_1_0: Rule(
        Stage.DELIVERY,
        "Processes and bills, then answers as HTTP/1.0 does, the end of the connection ending the body.",
        source="RFC 1945",
    ),
    Kind.INFORMATIONAL: Rule(
        Stage.DELIVERY,
        "Processes and bills, then sends so many 103 answers before the real one: a whole answer.",
        {"count": Field(whole(1, 100_000), "how many (default 1)", required=False, default=1)},
        source="RFC 8297 (one of them)",
    ),
    Kind.HUGE_HEADER: Rule(
        Stage.DELIVERY,
        "Processes and bills, then answers with a header of so many bytes.",
        {"bytes": Field(whole(1, 20_000_000), "its size (default ten million)", required=False, default=10_000_000)},
    ),
}

BODIES: Mapping[Kind, Rule] = {
    Kind.WRONG_TYPE: Rule(Stage.SPOIL, "Processes and bills; the answer calls itself text/html."),
    Kind.BAD_JSON: Rule(Stage.SPOIL, "Processes and bills; the JSON of the answer cannot be parsed."),
    Kind.HUGE_JSON: Rule(
        Stage.SPOIL,
        "Processes and bills; the JSON of the answer is padded.",
        {"megabytes": Field(whole(1, 256), "by how much (default 64)", required=False, default=64)},
    ),
    Kind.DEEP_JSON: Rule(
        Stage.SPOIL,
        "Processes and bills; the JSON of the answer holds lists within lists.",
        {"depth": Field(whole(1, 1_000_000), "how deep (default 10000)", required=False, default=10_000)},
    ),
    Kind.DUPLICATE_KEYS: Rule(
        Stage.SPOIL, "Processes and bills; id and state stand twice in the JSON of the answer, the true ones last."
    ),
    Kind.NAN_JSON: Rule(Stage.SPOIL, "Processes and bills; the JSON of the answer holds NaN, which is no JSON."),
}

RULES: Mapping[Kind, Rule] = {**STATUSES, **SILENCES, **FRAMING, **BODIES}
