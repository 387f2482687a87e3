"""
HTTP status to contract: what the provider's own documents say, and what HTTP says where they are silent.

| status, where the provider's table does not name it | becomes | |
|---|---|---|
| 3xx, 404, 405 | `ProviderDenied` | the endpoint is configured wrongly: the owner's problem |
| 400, 422 | `ProviderRefused` | |
| 401, 402, 403 | `ProviderDenied` | key, credit, permission |
| 413, 415 | `ProviderRefused`, `elsewhere` | that provider's own limit |
| 429, and 503 with a Retry-After | `ProviderOverloaded` | |
| 502, 504 | `ProviderFailed`, `may_have_charged` | a proxy lost the answer; the work behind it may be done and billed |
| what proxies say of a connection that never came to be (521, 523, 525, 526, 530) | `ProviderFailed` | |
| all others of the registry of statuses | `ProviderFailed` | |
| any that is not in it (499, 520, 522, 524, ...) | `ProviderFailed`, `may_have_charged` | said by what lies between |

Released is only what is provably not billed: a status that nobody has documented is no such proof.

Source: https://www.rfc-editor.org/rfc/rfc9110#section-15, https://www.iana.org/assignments/http-status-codes,
https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/ (520 to 530), nginx's
ngx_http_request.h (444, 499), read 2026-12.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType

from providers.contract import ProviderDenied, ProviderError, ProviderFailed, ProviderOverloaded, ProviderRefused


class Meaning(Enum):
    """What an answer without a segmentation means."""

    REFUSED = auto()
    """The request is at fault, wherever it goes. Not billed."""
    REFUSED_HERE = auto()
    """The request is beyond this provider's own limits. Not billed."""
    DENIED = auto()
    """Our account is at fault. Not billed."""
    MISPLACED = auto()
    """There is no such call: the endpoint is configured wrongly. Not billed."""
    OVERLOADED = auto()
    """Too much at once. Not billed."""
    FAILED = auto()
    """The provider's own trouble, or no way to it. Not billed."""
    IN_DOUBT = auto()
    """The call may have been worked on, and billed."""


Statuses = Mapping[int, Meaning]
"""What one provider's documents say of a status, where that differs from `BY_HTTP` or is worth its source."""

_NOT_REACHED = (521, 523, 525, 526, 530)

BY_HTTP: Statuses = MappingProxyType(
    dict.fromkeys(range(300, 400), Meaning.MISPLACED)
    | dict.fromkeys((*range(406, 418), *range(421, 427), 428, 431, 451), Meaning.FAILED)
    | dict.fromkeys((500, 501, 503, *range(505, 512), *_NOT_REACHED), Meaning.FAILED)
    | dict.fromkeys((400, 422), Meaning.REFUSED)
    | dict.fromkeys((413, 415), Meaning.REFUSED_HERE)
    | dict.fromkeys((401, 402, 403), Meaning.DENIED)
    | dict.fromkeys((404, 405), Meaning.MISPLACED)
    | {429: Meaning.OVERLOADED}
)
"""What a status means by RFC 9110 and the registry; whatever is not in it is in doubt."""

_KINDS: Mapping[Meaning, type[ProviderError]] = MappingProxyType(
    {
        Meaning.REFUSED: ProviderRefused,
        Meaning.REFUSED_HERE: ProviderRefused,
        Meaning.DENIED: ProviderDenied,
        Meaning.MISPLACED: ProviderDenied,
        Meaning.OVERLOADED: ProviderOverloaded,
        Meaning.FAILED: ProviderFailed,
        Meaning.IN_DOUBT: ProviderFailed,
    }
)


def error_for_status(
    provider: str,
    status: int,
    text: str,
    *,
    statuses: Statuses,
    retry_after_seconds: float | None = None,
    upstream_ref: str | None = None,
) -> ProviderError:
    """
    Return the error that an answer without a segmentation stands for.

    Args:
        provider: as a person writes it, for the message.
        status: the HTTP status.
        text: the provider's own words, already made fit to be shown; may be empty.
        statuses: what the provider's documents say of them.
        retry_after_seconds: what the answer's Retry-After asks for.
        upstream_ref: the provider's name for the call.
    """
    meaning = statuses.get(status) or BY_HTTP.get(status, Meaning.IN_DOUBT)
    if meaning is Meaning.FAILED and status == 503 and retry_after_seconds is not None:
        meaning = Meaning.OVERLOADED
    message = f"{provider} answered {status}: {text}" if text else f"{provider} answered {status}"
    if meaning is Meaning.MISPLACED:
        message += "; check the deployment's endpoint"
    return _KINDS[meaning](
        message,
        elsewhere=meaning is not Meaning.REFUSED,
        may_have_charged=meaning is Meaning.IN_DOUBT,
        status=status,
        upstream_ref=upstream_ref,
        retry_after_seconds=retry_after_seconds,
    )
