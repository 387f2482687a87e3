"""`/admin/v1/keys`, on a real socket."""

from __future__ import annotations

import http.client
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.api.admin_keys import PATH
from gateway.app import create_app
from gateway.cli.budgets import budgets as budgets_command
from gateway.cli.keys import keys as keys_command
from gateway.serving import running
from gateway.settings import settings_from_yaml

#: A gateway that asks nobody.
CONFIGURATION = "deployments: []"


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]


Ask = Callable[..., Reply]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gateway's folder."""
    return tmp_path_factory.mktemp("state")


def make(state: Path, *options: str) -> str:
    """Make a key on the command line."""
    environ = {"MASKGATE_STATE_DIR": str(state), "MASKGATE_CONFIG": None, "MASKGATE_DATABASE_URL": None}
    made = CliRunner().invoke(keys_command, ["create", *options, "--json"], env=environ, catch_exceptions=False)
    key: str = json.loads(made.stdout)["key"]
    return key


@pytest.fixture(scope="module")
def admin(state: Path) -> str:
    """The key of an administrator."""
    return make(state, "--tenant", "operations", "--scope", "admin")


@contextmanager
def gateway(state: Path) -> Iterator[str]:
    """Run a gateway on that folder, and give its address."""
    settings = settings_from_yaml(CONFIGURATION, environ={"MASKGATE_STATE_DIR": str(state)})
    with running(lambda: create_app(settings, log_to=io.StringIO(), show=lambda _key: None)) as url:
        yield url


def asking(url: str, own: str | None) -> Ask:
    """Return what asks a gateway, with that key where no other one is named."""
    host, port = url.removeprefix("http://").split(":")

    def asked(method: str, path: str, body: object = None, *, key: str | None = own) -> Reply:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        if content is not None:
            headers["Content-Type"] = "application/json"
        with closing(http.client.HTTPConnection(host, int(port), timeout=60)) as connection:
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            return Reply(response.status, dict(response.getheaders()), json.loads(response.read()))

    return asked


@pytest.fixture(scope="module")
def ask(state: Path, admin: str) -> Iterator[Ask]:
    """A gateway, and what asks it: as the administrator where no other key is named."""
    with gateway(state) as url:
        yield asking(url, admin)


def test_a_key_is_made_and_shown_once(ask: Ask) -> None:
    """The answer to its making has the key; no later one has it, or its hash."""
    wanted = {
        "tenant": "acme",
        "name": "CI",
        "scopes": ["usage", "segment"],
        "expires_at": "2100-01-31T12:00:00+01:00",
        "requests_per_second": "0.50",
        "burst": 3,
        "concurrency": 2,
    }
    made = ask("POST", PATH, wanted)
    assert (201, "private, no-store") == (made.status, made.headers["cache-control"])
    secret = made.body.pop("key")
    assert re.fullmatch(r"mg_[A-Za-z0-9_-]{32}", secret)
    assert {
        "object": "key",
        "tenant": "acme",
        "name": "CI",
        "prefix": secret[:10],
        "scopes": ["segment", "usage"],
        "status": "good",
        "expires_at": "2100-01-31T11:00:00Z",
        "revoked_at": None,
        "replaces": None,
        "requests_per_second": "0.5",
        "burst": 3,
        "concurrency": 2,
    } == {name: value for name, value in made.body.items() if name not in {"id", "created_at"}}
    shown = ask("GET", f"{PATH}/{made.body['id']}")
    assert (200, made.body) == (shown.status, shown.body)
    assert "private, no-store" == shown.headers["cache-control"]
    listed = ask("GET", f"{PATH}?tenant=acme").body["keys"]
    assert [made.body] == [key for key in listed if key["id"] == made.body["id"]]
    assert ask("GET", "/v1/usage", key=secret).status == 200


def test_a_revoked_key_is_refused_at_once(ask: Ask) -> None:
    """The request after the revocation is the first that fails; to revoke it again changes nothing."""
    made = ask("POST", PATH, {"tenant": "acme", "scopes": ["usage"]}).body
    assert 200 == ask("GET", "/v1/usage", key=made["key"]).status
    ended = ask("DELETE", f"{PATH}/{made['id']}")
    assert (200, "revoked") == (ended.status, ended.body["status"])
    assert 401 == ask("GET", "/v1/usage", key=made["key"]).status
    assert ended.body == ask("DELETE", f"{PATH}/{made['id']}").body


def test_a_revoked_key_is_refused_by_another_gateway_at_once(ask: Ask, state: Path) -> None:
    """A gateway that has let the key in refuses it on the request after the other one has revoked it."""
    made = ask("POST", PATH, {"tenant": "acme", "scopes": ["usage"]}).body
    with gateway(state) as other:
        there = asking(other, made["key"])
        assert [200, 200] == [there("GET", "/v1/usage").status for _ in range(2)]
        ask("DELETE", f"{PATH}/{made['id']}")
        assert 401 == there("GET", "/v1/usage").status


def test_a_rotated_key_has_two_secrets_for_a_while(ask: Ask) -> None:
    """Id and rights stay; the earlier secret goes on until its grace ends, and without one stops at once."""
    made = ask("POST", PATH, {"tenant": "rotating", "scopes": ["usage"], "name": "CI"}).body
    rotated = ask("POST", f"{PATH}/{made['id']}/rotate", {"grace_seconds": 3600}).body
    assert made["key"] != rotated["key"]
    kept = ("id", "tenant", "name", "scopes", "created_at", "expires_at")
    assert [made[name] for name in kept] == [rotated[name] for name in kept]
    assert [200, 200] == [ask("GET", "/v1/usage", key=each["key"]).status for each in (made, rotated)]
    earlier = [key for key in ask("GET", f"{PATH}?tenant=rotating").body["keys"] if key["id"] != made["id"]]
    assert [(made["id"], made["prefix"], "good")] == [
        (key["replaces"], key["prefix"], key["status"]) for key in earlier
    ]
    refused = ask("POST", f"{PATH}/{earlier[0]['id']}/rotate")
    assert (409, "conflict") == (refused.status, refused.body["code"])
    last = ask("POST", f"{PATH}/{made['id']}/rotate", {"grace_seconds": 0}).body
    statuses = [ask("GET", "/v1/usage", key=each["key"]).status for each in (made, rotated, last)]
    assert [200, 401, 200] == statuses


def test_keys_are_listed_in_pages(ask: Ask) -> None:
    """A cursor leads through all keys of a tenant, each of them once."""
    made = [ask("POST", PATH, {"tenant": "many", "scopes": ["usage"]}).body["id"] for _ in range(5)]
    found: list[str] = []
    path = f"{PATH}?tenant=many&limit=2"
    cursor: str | None = ""
    while cursor is not None:
        page = ask("GET", path + (f"&cursor={cursor}" if cursor else "")).body
        found += [key["id"] for key in page["keys"]]
        cursor = page["next_cursor"]
    assert sorted(made) == found


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["segment", "everything"]}, "scopes[1]"),
        ({"scopes": None}, "scopes"),
        ({"tenant": ""}, "tenant"),
        ({"tenant": "a:b"}, "tenant"),
        ({"name": "a\nb"}, "name"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2100-01-01T00:00:00"}, "expires_at"),
        ({"expires_in_seconds": 0}, "expires_in_seconds"),
        ({"expires_in_seconds": 60, "expires_at": "2100-01-01T00:00:00Z"}, None),
        ({"requests_per_second": "0"}, "requests_per_second"),
        ({"requests_per_second": 5}, "requests_per_second"),
        ({"requests_per_second": "5", "burst": 0}, "burst"),
        ({"burst": 5}, None),
        ({"concurrency": -1}, "concurrency"),
        ({"hard_budget": {"usd": "0"}}, "hard_budget.usd"),
        ({"hard_budget": {"usd": "1.0000001"}}, "hard_budget.usd"),
        ({"hard_budget": {"usd": "1", "window": "week"}}, "hard_budget.window"),
        ({"owner": "me"}, "owner"),
    ],
)
def test_a_wrong_field_is_named_and_no_key_is_made(ask: Ask, change: dict[str, object], field: str | None) -> None:
    """A key is made as it was asked for, or not at all."""
    wanted = {"tenant": "strict", "scopes": ["usage"]} | change
    refused = ask("POST", PATH, {name: value for name, value in wanted.items() if value is not None})
    assert (422, "invalid_request", field) == (refused.status, refused.body["code"], refused.body.get("field"))
    assert [] == ask("GET", f"{PATH}?tenant=strict").body["keys"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "field"),
    [
        ("POST", PATH, b"{", 400, None),
        ("POST", PATH, b"[]", 422, None),
        ("POST", PATH, b" " * 70_000, 413, None),
        ("GET", f"{PATH}?limit=0", None, 422, "limit"),
        ("GET", f"{PATH}?cursor=x", None, 422, "cursor"),
        ("GET", f"{PATH}?cursor=WzFd", None, 422, "cursor"),
        ("GET", f"{PATH}?owner=me", None, 422, "owner"),
        ("GET", f"{PATH}/key_nobody", None, 404, None),
        ("DELETE", f"{PATH}/key_nobody", None, 404, None),
        ("POST", f"{PATH}/key_nobody/rotate", None, 404, None),
        ("POST", f"{PATH}/key_nobody/rotate", {"grace_seconds": -1}, 422, "grace_seconds"),
    ],
)
def test_what_cannot_be_done_is_said(
    ask: Ask, method: str, path: str, body: object, status: int, field: str | None
) -> None:
    """Each refusal has its status and names the field at fault."""
    refused = ask(method, path, body)
    assert (status, field) == (refused.status, refused.body.get("field"))


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", PATH), ("POST", PATH), ("GET", f"{PATH}/k"), ("DELETE", f"{PATH}/k"), ("POST", f"{PATH}/k/rotate")],
)
def test_only_an_administrator_comes_in(ask: Ask, method: str, path: str) -> None:
    """Neither a tenant's key, nor none on this machine, nor one that is good for nothing gets through."""
    tenant = ask("POST", PATH, {"tenant": "acme", "scopes": ["segment", "usage"]}).body["key"]
    for key, status, code in (
        (tenant, 403, "forbidden"),
        (None, 401, "unauthenticated"),
        ("mg_x", 401, "unauthenticated"),
    ):
        refused = ask(method, path, key=key)
        assert (status, code) == (refused.status, refused.body["code"])


def test_a_key_is_made_with_its_budget(ask: Ask, state: Path) -> None:
    """Key and hard budget come together."""
    wanted = {"tenant": "acme", "scopes": ["segment"], "hard_budget": {"usd": "2.50", "window": "day"}}
    made = ask("POST", PATH, wanted)
    assert 201 == made.status

    listed = CliRunner().invoke(
        budgets_command, ["list", "--tenant", "acme", "--json"], env={"MASKGATE_STATE_DIR": str(state)}
    )
    found = [each for each in json.loads(listed.stdout)["budgets"] if each["subject"] == made.body["id"]]
    assert [("day", True, "2.500000")] == [(each["period"], each["hard"], each["limit_usd"]) for each in found]
