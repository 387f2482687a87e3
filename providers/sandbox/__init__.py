"""
Fake upstreams as a product feature: real HTTP servers that behave as Runflow and Prodia do.

The whole gateway runs on them with no key. They know some pictures exactly, keep books of what the providers would
bill, and break in every way that a network and a provider can, when they are told to.
"""

from providers.sandbox.config import gateway_config
from providers.sandbox.server import Sandbox
from providers.sandbox.upstream import PortTaken

__all__ = ["PortTaken", "Sandbox", "gateway_config"]
