"""The smaller parts of the configuration file."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Annotated

from pydantic import Field, field_validator

from gateway.loopback import leads_to_loopback
from gateway.settings.prices import Contradiction
from gateway.settings.rates import RateSettings
from gateway.settings.section import Section

PORT = re.compile(r"[0-9]{1,5}")
STAND_IN = re.compile(r"http://([0-9A-Fa-f.:\[\]]{1,64})(?:/[\x21-\x7e]{0,2048})?")
WEBHOOK_URL = re.compile(r"https?://[A-Za-z0-9.\[\]:-]{1,255}(/[\x21-\x7e]{0,1024})?")
WEBHOOK_SECRET = "whsec_"  # noqa: S105 - what secrets begin with

#: Pillow takes no larger picture: twice its `MAX_IMAGE_PIXELS`, which is the whole process's.
MOST_PIXELS = 178_956_970


class FetchSettings(Section):
    """How pictures and masks are brought from other people's addresses."""

    allow: tuple[str, ...] = ()
    """`ip:port` addresses that are asked although they are private, by all three: callers' pictures included."""
    allow_pictures: tuple[str, ...] = ()
    """Those that callers' `image.url` may name."""
    allow_masks: tuple[str, ...] = ()
    """Those that providers' masks may be fetched from."""
    allow_webhooks: tuple[str, ...] = ()
    """Those that `budgets.webhook_url` may lead to."""
    max_bytes: Annotated[int, Field(ge=1024, le=2**30)] = 32 * 2**20
    seconds: Annotated[float, Field(gt=0, le=300)] = 10.0
    max_redirects: Annotated[int, Field(ge=0, le=50)] = 10
    """How many are followed, each checked like a first address."""
    instead: dict[str, str] = Field(default_factory=dict)
    """For a sandbox: addresses that are not fetched from, and the ones on this machine that stand for them."""

    @field_validator("allow", "allow_pictures", "allow_masks", "allow_webhooks")
    @classmethod
    def _are_addresses(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse names: what a name leads to can change under our feet."""
        for entry in entries:
            if not _is_address(entry):
                raise ValueError(f"{entry!r} is no address; write ip:port, as 10.0.0.7:8080 or [fd00::7]:8080")
        return entries

    @property
    def pictures(self) -> tuple[str, ...]:
        """The private addresses that callers may name."""
        return (*self.allow, *self.allow_pictures)

    @property
    def masks(self) -> tuple[str, ...]:
        """The private addresses that providers may name."""
        return (*self.allow, *self.allow_masks)

    @property
    def webhooks(self) -> tuple[str, ...]:
        """The private addresses that the operator's webhook may lead to."""
        return (*self.allow, *self.allow_webhooks)

    def contradictions(self) -> Iterator[Contradiction]:
        """Find stand-ins that are not on this machine, or that nothing may be fetched from."""
        for address, there in self.instead.items():
            found = STAND_IN.fullmatch(there)
            if found is None or found[1] not in self.pictures or not leads_to_loopback(there):
                message = f"{there!r} is no loopback address that pictures may come from: write one, and allow it here"
                yield ("instead", address), message


def _is_address(entry: str) -> bool:
    """Whether it is `ip:port`, an IPv6 address in brackets."""
    host, _, port = entry.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    try:
        version = ip_address(bare).version
    except ValueError:
        return False
    written = f"[{bare}]" if version == 6 else bare
    return host == written and PORT.fullmatch(port) is not None and 0 < int(port) < 65536


class CacheSettings(Section):
    """What is kept of bought answers."""

    max_bytes: Annotated[int, Field(ge=0)] = 256 * 2**20
    ttl_seconds: Annotated[float, Field(gt=0)] = 86_400.0
    empty_ttl_seconds: Annotated[float, Field(gt=0)] = 60.0


class AccessSettings(Section):
    """Who may ask."""

    keyless_on_loopback: bool = True
    """Whether programs on this machine need a key while the gateway listens on loopback alone."""


class AdminSettings(Section):
    """Where keys and budgets are looked after."""

    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """The port of the admin routes alone; None: the gateway's own. `MASKGATE_ADMIN_PORT` goes first."""


class LimitSettings(RateSettings):
    """What the gateway takes at once; and what each tenant may ask for that `tenants` says nothing else about."""

    max_pixels: Annotated[int, Field(ge=64, le=MOST_PIXELS)] = 120_000_000
    max_in_flight: Annotated[int, Field(ge=1)] = 4096
    """Requests being worked on, or fewer where there are not descriptors for so many; the next one is told 429."""
    bytes_in_flight: Annotated[int, Field(ge=2**20, le=2**44)] | None = None
    """Bytes of requests and fetched pictures held at once; None: a sixteenth of the memory this process may use."""
    worker_threads: Annotated[int, Field(ge=1, le=256)] = 4
    decoder_processes: Annotated[int, Field(ge=1, le=256)] | None = None
    """Processes in which pictures and masks are decoded; None: one for each core, shared among `--workers`."""
    decoder_memory_mb: Annotated[int, Field(ge=512, le=65_536)] = 1536
    """Address space that each of them may take, its libraries' 300 MB included; what needs more is refused."""
    grace_seconds: Annotated[float, Field(ge=0, le=3600)] = 30.0
    """How long after a request's deadline an open reservation is taken for abandoned."""


class ReconcileSettings(Section):
    """When providers are asked what became of attempts on hold."""

    every_seconds: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    """Between two rounds; one attempt is asked about ever more rarely, at last once an hour."""
    first_seconds: Annotated[float, Field(ge=0, le=86_400)] = 10.0
    """From the hold to the first question."""
    absent_seconds: Annotated[float, Field(ge=0, le=7 * 86_400)] = 300.0
    """From the hold until an attempt that the provider knows nothing of counts as never made."""


class QuoteSettings(Section):
    """How long a quote binds."""

    ttl_seconds: Annotated[float, Field(ge=1, le=86_400)] = 300.0


class IdempotencySettings(Section):
    """How long an answer is remembered under its Idempotency-Key."""

    ttl_seconds: Annotated[float, Field(ge=60, le=30 * 86_400)] = 86_400.0


class BudgetSettings(Section):
    """Whom budgets tell when they are passed."""

    webhook_url: str = Field(default="", repr=False)
    """Where the news goes; empty for nowhere. Not shown: many services' addresses are secrets."""
    webhook_secret: str = Field(default="", repr=False)
    """What the news is signed with: whsec_ and the base64 of 24 to 64 random bytes."""

    @field_validator("webhook_url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        """Refuse what nothing can be sent to."""
        if url and not WEBHOOK_URL.fullmatch(url):
            raise ValueError("write it as https://host/path, without a user")
        return url

    @field_validator("webhook_secret")
    @classmethod
    def _is_secret(cls, secret: str) -> str:
        """
        Refuse what is no secret of Standard Webhooks, without showing it.

        Source: standard-webhooks.com, specification 1.0.0, "Signature scheme"; read 2026-11-20.
        """
        if not secret:
            return secret
        try:
            size = len(b64decode(secret.removeprefix(WEBHOOK_SECRET), validate=True))
        except (binascii.Error, ValueError):
            size = 0
        if not secret.startswith(WEBHOOK_SECRET) or not 24 <= size <= 64:
            raise ValueError(
                "write whsec_ and the base64 of 24 to 64 random bytes, "
                'as made by: echo "whsec_$(openssl rand -base64 32)"'
            )
        return secret

    def contradictions(self) -> Iterator[Contradiction]:
        """Find what cannot hold together."""
        if self.webhook_url and not self.webhook_secret:
            yield ("webhook_secret",), "missing beside webhook_url: nothing is sent that is not signed"
        if self.webhook_secret and not self.webhook_url:
            yield ("webhook_url",), "missing beside webhook_secret: there is nowhere to send to"
