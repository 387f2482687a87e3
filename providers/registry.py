"""
Every provider, by name: those of this tree, one line each, and those of installed packages.

A package adds a provider with an entry point of the group `maskgate.providers`: its name is the provider's, and it
loads to what makes one of a `Means`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from providers.contract import Means, Provider
from providers.local import Local
from providers.prodia import Prodia
from providers.runflow import Runflow

GROUP = "maskgate.providers"

BUILT_IN: Mapping[str, Callable[[Means], Provider]] = MappingProxyType(
    {
        "runflow": Runflow,
        "prodia": Prodia,
        "local": Local,
    }
)


def build_providers(means: Means, names: Collection[str] | None = None) -> dict[str, Provider]:
    """
    Return the providers of those names, each built once.

    Args:
        means: what they are built with.
        names: which; every built-in and installed one when None. Packages that are not named are not imported.

    Raises:
        ValueError: a name that nobody has, that two have, or that its provider does not go by.
    """
    installed = _installed()
    known = [*BUILT_IN, *installed]
    wanted = known if names is None else sorted(set(names))
    providers: dict[str, Provider] = {}
    for name in wanted:
        if name not in known:
            raise ValueError(f"there is no provider {name!r}; there are {', '.join(known)}, and installable packages")
        provider = (BUILT_IN[name] if name in BUILT_IN else installed[name].load())(means)
        if provider.name != name:
            raise ValueError(f"the provider registered as {name!r} calls itself {provider.name!r}; make the two equal")
        providers[name] = provider
    return providers


def _installed() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        if entry.name in BUILT_IN:
            raise ValueError(f"{_origin(entry)} brings a provider {entry.name!r}, which is built in; uninstall it")
        if entry.name in found:
            raise ValueError(
                f"{_origin(entry)} and {_origin(found[entry.name])} both bring a provider {entry.name!r}; "
                "uninstall one of them"
            )
        found[entry.name] = entry
    return found


def _origin(entry: EntryPoint) -> str:
    return f"the package {entry.dist.name}" if entry.dist is not None else entry.value
