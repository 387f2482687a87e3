"""One deployment, made ready to be called: addresses, headers and options, worked out once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from providers.address import DEFAULT_PORTS, NoAddress, parse_address
from providers.contract import Deployment
from providers.runflow.catalogue import CURRENT_GENERATION, DEFAULT_ASSET_HOSTS, DEFAULT_POLL_SECONDS, FLAT_PATHS
from providers.runflow.wire import segment_of_path


@dataclass(frozen=True, slots=True)
class Account:
    """Where and as whom Runflow is called."""

    deployment: Deployment
    base: str
    """Everything current lies below `{endpoint}/v1`."""
    create_url: str
    """Where runs are created, or the synchronous call of an older generation is made."""
    generation: int
    prompts_as_text: bool
    """Whether points and boxes go as JSON text."""
    headers: Mapping[str, str]
    """For reading."""
    json_headers: Mapping[str, str]
    """For sending JSON."""
    hide: tuple[str, ...]
    """What no message may show."""
    poll_seconds: float
    asset_hosts: tuple[str, ...]

    @classmethod
    def of(cls, deployment: Deployment) -> Account:
        """Work out what calls to *deployment* need."""
        base = f"{deployment.endpoint}/v1"
        model = "/".join(segment_of_path(segment) for segment in deployment.model.split("/"))
        credential = deployment.credential.reveal()
        headers = {"authorization": f"Bearer {credential}", "accept": "application/json"}
        organization_id = deployment.options.get("organization_id")
        if organization_id is not None:
            headers["x-organization-id"] = str(organization_id)
        generation = int(deployment.options.get("generation", CURRENT_GENERATION))
        flat = FLAT_PATHS.get(generation)
        usual = "json" if flat is None else "string"
        hosts = str(deployment.options.get("asset_hosts", DEFAULT_ASSET_HOSTS)).split(",")
        return cls(
            deployment=deployment,
            base=base,
            create_url=f"{base}/models/{model}/runs" if flat is None else f"{base}/{flat}",
            generation=generation,
            prompts_as_text=deployment.options.get("prompts_as", usual) == "string",
            headers=headers,
            json_headers={**headers, "content-type": "application/json"},
            hide=(credential, str(organization_id or "")),
            poll_seconds=float(deployment.options.get("poll_seconds", DEFAULT_POLL_SECONDS)),
            asset_hosts=tuple(host.strip().lower() for host in hosts if host.strip()),
        )


def may_upload_to(url: str, account: Account) -> bool:
    """
    Whether the bytes of a picture may be put at an address that Runflow named.

    Why not anywhere: the address comes in an answer, and a PUT to it comes from inside our network. It may lie at the
    endpoint's own origin, or on a host that `asset_hosts` names, there over https on the usual port alone.
    """
    try:
        target, home = parse_address(url), parse_address(account.base)
    except NoAddress:
        return False
    if (target.scheme, target.host, target.port) == (home.scheme, home.host, home.port):
        return True
    host = target.host.rstrip(".")
    known = any(
        host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern for pattern in account.asset_hosts
    )
    return known and target.scheme == "https" and target.port == DEFAULT_PORTS["https"]
