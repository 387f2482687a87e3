"""Which paths are answered on which port, where the admin routes have one of their own."""

from __future__ import annotations

from starlette.types import Scope

ADMIN_PATHS = "/admin/"
#: Answered on both: whoever watches a process asks the port that it knows, and metrics take a key on the callers' port.
EVERYWHERE = frozenset({"/healthz", "/metrics"})


def misplaced(scope: Scope, admin_port: int | None) -> bool:
    """
    Whether a request came to a port on which its path is not answered.

    The port is the one that the connection was accepted on, which no header can change.

    Args:
        scope: the request's, as the server has made it.
        admin_port: where the admin routes are answered, and nothing else; None where all is answered on every port.
    """
    path: str = scope["path"]
    if admin_port is None or path in EVERYWHERE:
        return False
    return on_admin_port(scope, admin_port) is not path.startswith(ADMIN_PATHS)


def on_admin_port(scope: Scope, admin_port: int | None) -> bool:
    """Whether a request came to the port of the admin routes; never where they have none of their own."""
    _, port = scope.get("server") or ("", None)
    return admin_port is not None and port == admin_port
