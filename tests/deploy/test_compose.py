"""What holds for the compose file and the files beside it."""

import ipaddress
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.app import create_app, sandbox_config
from gateway.settings import load_settings
from gateway.stop import STOP_SECONDS

DEPLOY = Path(__file__).parents[2] / "deploy"
OURS = ("gateway", "sandbox")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """Return the compose file."""
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_services_are_the_five_of_a_deployment(compose: dict[str, Any]) -> None:
    """Gateway, database, Redis, Prometheus and sandbox share one network."""
    assert set(compose["services"]) == {"gateway", "sandbox", "postgres", "redis", "prometheus"}
    assert all("maskgate" in service["networks"] for service in compose["services"].values())


def test_every_dependency_is_waited_for_until_it_is_healthy(compose: dict[str, Any]) -> None:
    """What a service depends on is a service with a health check, the image's own or the file's."""
    for name, service in compose["services"].items():
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}, name
            assert needed == "gateway" or "healthcheck" in compose["services"][needed]


@pytest.mark.parametrize("name", OURS)
def test_our_containers_can_do_little(compose: dict[str, Any], name: str) -> None:
    """Our containers run with a read-only file system, without capabilities, as the image's user."""
    service = compose["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "user" not in service
    assert "privileged" not in service
    assert service["build"] == {"context": "..", "dockerfile": "deploy/Dockerfile"}


def test_nothing_is_published_beyond_this_machine(compose: dict[str, Any]) -> None:
    """Every published port is bound to loopback; database and Redis publish none."""
    published = {name: service.get("ports", []) for name, service in compose["services"].items()}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert published["postgres"] == published["redis"] == []


def test_no_secret_is_written_down(compose: dict[str, Any]) -> None:
    """Passwords and keys come from the environment; without a password nothing starts."""
    environment = compose["services"]["gateway"]["environment"]
    assert "${POSTGRES_PASSWORD:?" in environment["MASKGATE_DATABASE_URL"]
    assert compose["services"]["postgres"]["environment"]["POSTGRES_PASSWORD"].startswith("${POSTGRES_PASSWORD:?")
    assert (environment["RUNFLOW_API_KEY"], environment["PRODIA_TOKEN"]) == (
        "${RUNFLOW_API_KEY:-}",
        "${PRODIA_TOKEN:-}",
    )


def test_gateway_is_told_of_database_redis_and_configuration(compose: dict[str, Any]) -> None:
    """The gateway's environment names the services of this file, and a configuration that is mounted."""
    gateway = compose["services"]["gateway"]
    assert gateway["environment"]["MASKGATE_DATABASE_URL"].endswith("@postgres:5432/maskgate")
    assert gateway["environment"]["MASKGATE_REDIS_URL"] == "redis://redis:6379/0"
    assert f"./maskgate.yaml:{gateway['environment']['MASKGATE_CONFIG']}:ro" in gateway["volumes"]
    assert {volume.split(":")[0] for volume in gateway["volumes"]} - {"./maskgate.yaml"} <= set(compose["volumes"])


def test_configuration_is_the_sandbox_at_its_fixed_address(compose: dict[str, Any]) -> None:
    """The mounted configuration is what the sandbox prints for the address it has in the network."""
    network = ipaddress.ip_network(compose["networks"]["maskgate"]["ipam"]["config"][0]["subnet"])
    address = compose["services"]["sandbox"]["networks"]["maskgate"]["ipv4_address"]
    port = int(compose["services"]["sandbox"]["command"][-1])
    assert ipaddress.ip_address(address) in network
    written = (DEPLOY / "maskgate.yaml").read_text()
    assert yaml.safe_load(written) == yaml.safe_load(sandbox_config(address, port))


def test_gateway_can_be_built_from_the_configuration() -> None:
    """The gateway takes the mounted configuration as it stands."""
    settings = load_settings(config=DEPLOY / "maskgate.yaml", environ={})
    assert create_app(settings).title == "Maskgate"


def test_prometheus_scrapes_the_gateway(compose: dict[str, Any]) -> None:
    """Prometheus' one target is the gateway's admin port, where metrics take no key."""
    scraped = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    port = compose["services"]["gateway"]["environment"]["MASKGATE_ADMIN_PORT"]
    assert [f"gateway:{port}"] == scraped["scrape_configs"][0]["static_configs"][0]["targets"]
    assert "./prometheus.yml:/etc/prometheus/prometheus.yml:ro" in compose["services"]["prometheus"]["volumes"]


def test_a_gateway_that_stops_is_given_the_time_it_takes(compose: dict[str, Any]) -> None:
    """What is under way has its seconds, and closing the ledger some more, before the container is killed."""
    grace = compose["services"]["gateway"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) >= STOP_SECONDS + 10


def test_health_checks_are_commands(compose: dict[str, Any]) -> None:
    """Each health check is a list that starts with how it is run, and its shell form can be split."""
    checks = {n: s["healthcheck"]["test"] for n, s in compose["services"].items() if "healthcheck" in s}
    assert set(checks) == {"sandbox", "postgres", "redis"}
    for how, *command in checks.values():
        assert how in {"CMD", "CMD-SHELL"}
        assert len(shlex.split(command[0]) if how == "CMD-SHELL" else command) >= 2
