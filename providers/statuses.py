"""
HTTP status to contract, once for every provider that speaks HTTP.

| status | becomes | |
|---|---|---|
| 3xx, 404, 405 | `ProviderDenied` | the endpoint is configured wrongly: the owner's problem |
| 400, 422 | `ProviderRefused` | |
| 401, 402, 403 | `ProviderDenied` | key, credit, permission |
| 413, 415 | `ProviderRefused`, `elsewhere` | that provider's own limit |
| 429, and 503 with a Retry-After | `ProviderOverloaded` | |
| 502, 504 | `ProviderFailed`, `may_have_charged` | a proxy lost the answer; the work behind it may be done and billed |
| all others | `ProviderFailed` | |
"""

from __future__ import annotations

from providers.contract import ProviderDenied, ProviderError, ProviderFailed, ProviderOverloaded, ProviderRefused


def error_for_status(
    provider: str, status: int, text: str, *, retry_after_seconds: float | None = None, upstream_ref: str | None = None
) -> ProviderError:
    """
    Return the error that an answer without a segmentation stands for.

    Args:
        provider: as a person writes it, for the message.
        status: the HTTP status.
        text: the provider's own words, already made fit to be shown; may be empty.
        retry_after_seconds: what the answer's Retry-After asks for.
        upstream_ref: the provider's name for the call.
    """
    message = f"{provider} answered {status}: {text}" if text else f"{provider} answered {status}"
    kind: type[ProviderError] = ProviderFailed
    elsewhere: bool | None = None
    may_have_charged: bool | None = None
    if status in {400, 413, 415, 422}:
        kind = ProviderRefused
        elsewhere = status in {413, 415}
    elif status in {401, 402, 403}:
        kind = ProviderDenied
    elif status in {404, 405} or 300 <= status < 400:
        kind = ProviderDenied
        message += "; check the deployment's endpoint"
    elif status == 429 or (status == 503 and retry_after_seconds is not None):
        kind = ProviderOverloaded
    elif status in {502, 504}:
        may_have_charged = True
    return kind(
        message,
        elsewhere=elsewhere,
        may_have_charged=may_have_charged,
        status=status,
        upstream_ref=upstream_ref,
        retry_after_seconds=retry_after_seconds,
    )
