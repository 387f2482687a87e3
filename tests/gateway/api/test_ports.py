"""Which path is answered on which port."""

from __future__ import annotations

import pytest

from gateway.api.ports import misplaced

PATHS = ("/v1/segmentations", "/readyz", "/metrics", "/openapi.json", "/administer", "/admin/v1/keys", "/healthz")


def found(admin_port: int | None, server: tuple[str, int | None] | None) -> set[str]:
    """Return the paths that are answered there."""
    return {path for path in PATHS if not misplaced({"type": "http", "path": path, "server": server}, admin_port)}


def test_without_a_port_of_their_own_admin_routes_are_everywhere() -> None:
    """One port answers everything."""
    assert set(PATHS) == found(None, ("127.0.0.1", 8080))


def test_a_port_of_their_own_answers_nothing_else() -> None:
    """The admin port has the admin routes, the metrics and the proof of life."""
    assert {"/admin/v1/keys", "/metrics", "/healthz"} == found(9090, ("127.0.0.1", 9090))


@pytest.mark.parametrize("server", [("127.0.0.1", 8080), ("/run/maskgate.sock", None), None])
def test_every_other_socket_answers_all_but_them(server: tuple[str, int | None] | None) -> None:
    """Where it is not the admin port that was asked, there are no admin routes."""
    assert set(PATHS) - {"/admin/v1/keys"} == found(9090, server)
