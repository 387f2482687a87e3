"""`maskgate deployments`: what can be asked, at what price, and how it is."""

from __future__ import annotations

from gateway.cli.options import Json, Key, Url


def deployments(url: Url = None, key: Key = None, *, json: Json = False) -> None:
    """List the gateway's deployments with their prices and their health."""
    from gateway.cli.asking import ask
    from gateway.cli.printing import dollars, print_json, print_table
    from gateway.client import DeploymentState

    def row(deployment: DeploymentState) -> list[str]:
        price = deployment.price
        return [
            deployment.name,
            deployment.provider,
            deployment.model,
            deployment.region,
            ", ".join(deployment.prompt_kinds),
            f"{dollars(price.amount.microusd)} a {price.unit}" if price is not None else "none: takes no traffic",
            deployment.health if deployment.reason is None else f"{deployment.health}: {deployment.reason}",
            str(deployment.in_flight),
        ]

    found = ask(url, key, lambda gateway: gateway.deployments())
    if json:
        print_json([deployment.document for deployment in found])
        return
    columns = ("deployment", "provider", "model", "region", "prompts", "price", "health", "in flight")
    print_table(columns, [row(deployment) for deployment in found], right=("in flight",))
