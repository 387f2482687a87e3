"""The gateway's configuration for a sandbox on fixed ports."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from providers.sandbox.documented import ADDRESSES

CONTROL = "control"


@dataclass(frozen=True, slots=True)
class UpstreamPlan:
    """One upstream of the sandbox, before it runs."""

    name: str
    provider: str
    region: str
    path: str
    """What follows the port in its base URL."""


UPSTREAMS = (
    UpstreamPlan("runflow-eu", "runflow", "eu", ""),
    UpstreamPlan("runflow-us", "runflow", "us", ""),
    UpstreamPlan("prodia", "prodia", "global", "/v2"),
)

RUNFLOW_MICROUSD = 5000
"""
Price of a succeeded SAM 3 run.

Source: docs.runflow.io/models/meta/sam-3/image ("$0.005/image"), dated 2026-04-05, read 2026-11-20.
"""

RUNFLOW_SMART_MICROUSD = 120_000
"""
Price of a succeeded Smart Segmentation run.

Source: www.runflow.io/models/runflow/smart-segmentation ("$0.12 per successful run"), read 2026-11-20.
"""

PRODIA_MICROUSD = 1100
"""Price of a completed segmentation job. Invented: Prodia publishes none; third parties report $0.0011 a call."""

PRODIA_PICTURE_MICROUSD = 1000
"""Price of a job that makes a picture from a text. Invented, as the one above."""

_MARK = """
    sandbox: true                # nobody's money: whoever asks from this machine needs no key for it"""

_TEMPLATE = """\
deployments:
  - name: runflow-eu
    provider: runflow
    model: meta/sam-3/image
    region: eu
    endpoint: http://{host}:{eu}
    credential: sandbox-key      # any non-empty value; production files write ${{RUNFLOW_API_KEY}}
    priority: 1
    price: {{usd: "0.005", unit: success, valid_from: "2026-04-05", source: "sandbox"}}
    options: {{poll_seconds: 0.05}}{mark}
  - name: runflow-us
    provider: runflow
    model: meta/sam-3/image
    region: us
    endpoint: http://{host}:{us}
    credential: sandbox-key
    priority: 2
    price: {{usd: "0.005", unit: success, valid_from: "2026-04-05", source: "sandbox"}}
    options: {{poll_seconds: 0.05}}{mark}
  - name: prodia
    provider: prodia
    model: inference.sam3.segment.v1
    region: global
    endpoint: http://{host}:{prodia}/v2
    credential: sandbox-key      # any non-empty value; production files write ${{PRODIA_TOKEN}}
    priority: 3
    price: {{usd: "0.0011", unit: success, valid_from: "2026-04-05", source: "sandbox"}}{mark}
  - name: local-classic
    provider: local
    model: classic
    region: local
    priority: 9
    price: {{usd: "0", unit: second, valid_from: "2026-01-01", source: "your own machine"}}
fetch:
  allow: []                                    # for pictures, masks and webhooks alike
  allow_pictures: ["{host}:{control}"]         # what callers may name: the scenes
  allow_masks: ["{host}:{eu}", "{host}:{us}"]  # what providers may name
"""

_INSTEAD = """\
  instead:                       # the pictures of the providers' own examples, for which the sandbox has others
"""


def ports(port: int) -> tuple[int, ...]:
    """
    Return the ports of the control server and of each upstream, in order.

    Raises:
        ValueError: they do not all fit below 65536.
    """
    if port == 0:
        return (0,) * (1 + len(UPSTREAMS))
    last = port + len(UPSTREAMS)
    if port < 1 or last > 65535:
        raise ValueError(f"port {port}: the sandbox needs the ports {port} to {last}; choose one of 1 to 65532")
    return tuple(range(port, last + 1))


def gateway_config(host: str, port: int) -> str:
    """
    Return the gateway's YAML for a sandbox on *port* and the three ports after it; nothing is started.

    The allow-lists name exactly the sandbox's own addresses, since the gateway's fetch guard refuses loopback. On this
    machine its deployments are marked as a sandbox's, so that they can be asked without a key, and the pictures of the
    providers' own examples are fetched from it, too.

    Raises:
        ValueError: *port* is 0 or too high, so there are no fixed ports to write down.
    """
    if port == 0:
        raise ValueError("port 0 stands for any free port; name a fixed one, such as 9100, to print a configuration")
    control, eu, us, prodia = ports(port)
    near = _is_loopback(host)
    text = _TEMPLATE.format(host=host, control=control, eu=eu, us=us, prodia=prodia, mark=_MARK if near else "")
    lines = [f'    "{url}": "http://{host}:{control}/scenes/{name}"\n' for url, name in ADDRESSES.items()]
    return text + _INSTEAD + "".join(lines) if near else text


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
