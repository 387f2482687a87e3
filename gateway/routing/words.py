"""
How a provider's failure is told, and to whom (pure).

    the operator's log       the whole message, in the provider's own words
    whoever made the call    what the provider says of the request, or what became of it on the way, without addresses
    everybody else           our own words: how the call ended, and its status

A provider's words may quote the prompt and the picture's address, so they stay with whoever sent those. And what it
says about the account (key, credit, permission, quota) is the operator's business alone, as every address is.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from providers.contract import Outcome, ProviderError

#: How a call ended, as part of a sentence about the deployment.
_ENDED = {
    Outcome.REFUSED: "it refused the request",
    Outcome.DENIED: "it denies access, which its operator has to see to",
    Outcome.OVERLOADED: "it has too much to do",
    Outcome.UNREACHABLE: "it could not be reached",
    Outcome.UNANSWERED: "no whole answer came from it in time",
    Outcome.OWN_SHORTAGE: "this gateway had nothing left to make the call with",
    Outcome.FAILED: "it failed",
    Outcome.OWN_SHORTAGE: "this gateway was short of what a call to it takes",
}

#: Those whose words are about the account or its limits, and not about the request.
_ABOUT_THE_ACCOUNT = frozenset({Outcome.DENIED, Outcome.OVERLOADED})

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+")
HIDDEN = "***"


def own_words(error: ProviderError) -> str:
    """
    Say how a call ended, for anybody.

    >>> own_words(ProviderError("no credit left on the account of ACME", status=402))
    'it failed (HTTP 402)'
    """
    status = "" if error.status is None else f" (HTTP {error.status})"
    return f"{_ENDED.get(error.outcome, 'it failed')}{status}"


def words_for_caller(error: ProviderError, *, endpoint: str) -> str:
    """
    Say how a call ended to whoever made it.

    Args:
        error: how it ended.
        endpoint: where it went; neither that nor any other address is shown.
    """
    if error.outcome in _ABOUT_THE_ACCOUNT:
        return own_words(error)
    addresses = _ADDRESS.findall(error.message)
    text = _ADDRESS.sub(HIDDEN, error.message)
    for host in sorted({host for address in (endpoint, *addresses) if (host := _host(address))}, key=len, reverse=True):
        text = re.sub(rf"(?<![\w.-]){re.escape(host)}(:\d+)?(?![\w-])", HIDDEN, text, flags=re.IGNORECASE)
    return text


def _host(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
