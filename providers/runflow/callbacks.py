"""
Runflow's callbacks: whether one is genuine, and which run it is about.

The signature is the lower-case hex HMAC-SHA256 of the raw body under the whole secret, its `whsec_` prefix included. It
has no timestamp, so a genuine callback can be played again: nothing but the run's id is taken from one.

Source: https://docs.runflow.io/guides/verify-callback-signatures, https://docs.runflow.io/concepts/callbacks and
https://docs.runflow.io/models/meta/sam-3/image (body, headers), read 2026-11-20. The prefix `sha256=` and several
signatures with commas between them are tolerated because secrets are rotated with "both verify in parallel".
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping

from providers.contract import Secret
from providers.upstream_json import read_json

SIGNATURE = "runflow-signature"

#: Signatures of one header that are looked at: one for each secret in force.
_MOST_SIGNATURES = 8


def is_genuine(headers: Mapping[str, str], body: bytes, secrets: Iterable[Secret]) -> bool:
    """
    Whether one of the signatures was made over *body* with one of *secrets*.

    Args:
        headers: by lower-case name.
        body: the raw bytes.
        secrets: those in force; the time taken does not tell which one fits, or how nearly.
    """
    given = [_bare(text) for text in headers.get(SIGNATURE, "").split(",")[:_MOST_SIGNATURES]]
    genuine = False
    for secret in secrets:
        right = hmac.new(secret.reveal().encode(), body, hashlib.sha256).hexdigest().encode()
        for signature in given:
            genuine |= hmac.compare_digest(right, signature)
    return genuine


def read_run_id(body: bytes) -> str | None:
    """Return the id of the run that a callback is about; None where it names none."""
    try:
        record = read_json(body)
    except ValueError:
        return None
    run_id = record.get("run_id") if isinstance(record, dict) else None
    return run_id if isinstance(run_id, str) and run_id else None


def _bare(signature: str) -> bytes:
    """Return a signature in lower case without its prefix, as bytes: what was sent may be anything."""
    return signature.strip().lower().removeprefix("sha256=").encode("utf-8", "replace")
