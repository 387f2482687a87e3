"""What a running gateway cannot take over from a changed configuration. Pure."""

from __future__ import annotations

from collections.abc import Callable

from gateway.settings.loading import Settings
from gateway.settings.problem import ConfigProblem

#: What is built once and outlives every reload, by the name under which it is written.
_BUILT_ONCE: tuple[tuple[str, Callable[[Settings], object]], ...] = (
    ("MASKGATE_STATE_DIR", lambda settings: settings.state_dir),
    ("MASKGATE_DATABASE_URL", lambda settings: settings.database_url),
    ("MASKGATE_REDIS_URL", lambda settings: settings.redis_url),
    ("host", lambda settings: settings.host),
    ("admin.port", lambda settings: settings.admin.port),
    ("cache.max_bytes", lambda settings: settings.cache.max_bytes),
    ("cache.ttl_seconds", lambda settings: settings.cache.ttl_seconds),
    ("cache.empty_ttl_seconds", lambda settings: settings.cache.empty_ttl_seconds),
    ("idempotency.ttl_seconds", lambda settings: settings.idempotency.ttl_seconds),
    ("limits.worker_threads", lambda settings: settings.limits.worker_threads),
    ("limits.decoder_processes", lambda settings: settings.limits.decoder_processes),
    ("limits.decoder_memory_mb", lambda settings: settings.limits.decoder_memory_mb),
)


def needs_restart(running: Settings, wanted: Settings) -> list[ConfigProblem]:
    """
    Return what differs and cannot be changed while the gateway runs, by name and never by value: some are secrets.

    Args:
        running: what the gateway was built from.
        wanted: what it should go on with.
    """
    return [
        ConfigProblem(name, None, None, "needs a restart: restart the gateway, or write it as it was")
        for name, value in _BUILT_ONCE
        if value(running) != value(wanted)
    ]
