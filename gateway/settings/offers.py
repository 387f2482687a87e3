"""From the configuration's deployments to those that the router sees, as only the providers can complete and check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from pydantic import ValidationError

from gateway.accounting.price_book import PriceBook
from gateway.routing.deployments import Offer
from gateway.settings.book import price_book
from gateway.settings.deployments import DeploymentSettings
from gateway.settings.loading import Settings
from gateway.settings.prices import PriceSettings
from gateway.settings.problem import ConfigProblem, SettingsError
from providers.contract import Deployment, ListPrice, Notified, Provider, Secret

CallbackUrl = Callable[[str], str]
"""Where a provider reaches this gateway to call back about a deployment; empty where nobody outside reaches it."""


@dataclass(frozen=True, slots=True)
class Offered:
    """The deployments of a configuration; those that the environment makes where it lists none."""

    wanted: tuple[DeploymentSettings, ...]
    offers: tuple[Offer, ...]
    """In the same order."""

    def prices(self, settings: Settings) -> PriceBook:
        """Return what they cost: as *settings* say, or else as their providers publish it."""
        return price_book(settings, self.wanted, {offer.name: offer.model.list_price for offer in self.offers})

    def priced(self) -> tuple[DeploymentSettings, ...]:
        """Return what was wanted, with the provider's list price where it names none of its own."""
        both = zip(self.wanted, self.offers, strict=True)
        return tuple(_priced(wanted, offer.model.list_price) for wanted, offer in both)


def offered(
    settings: Settings,
    providers: Mapping[str, Provider],
    *,
    callback_url: CallbackUrl,
    known: Mapping[str, Offer] | None = None,
) -> Offered:
    """
    Return the deployments of a configuration.

    Args:
        settings: which list them, or bring the environment that the providers make them from.
        providers: by name.
        callback_url: see there.
        known: those before, by name: one that is as it was is the same object, as adapters count on.

    Raises:
        SettingsError: naming every one that cannot work.
    """
    wanted = settings.deployments
    if wanted is None:
        wanted = tuple(_defaults(providers.values(), settings.environ))
    offers: list[Offer] = []
    problems: list[ConfigProblem] = []
    for index, each in enumerate(wanted):
        try:
            offers.append(_same(_offer(each, providers, callback_url), (known or {}).get(each.name)))
        except ValueError as error:
            problems.append(_problem(index, each, error))
    if problems:
        raise SettingsError(problems, source="configuration")
    return Offered(tuple(wanted), tuple(offers))


def found_problems(settings: Settings, providers: Mapping[str, Provider]) -> list[ConfigProblem]:
    """Return what is wrong in settings that only the providers can tell: unknown models, endpoints, options."""
    problems: list[ConfigProblem] = []
    for index, each in enumerate(settings.deployments or ()):
        try:
            _offer(each, providers, lambda _: "")
        except ValueError as error:
            problems.append(_problem(index, each, error))
    known = ", ".join(sorted(providers))
    for tenant, rules in settings.tenants.items():
        problems += [
            ConfigProblem(f"tenants.{tenant}.providers", None, None, f"there is no {name!r}; there are {known}")
            for name in rules.providers or ()
            if name not in providers
        ]
    return problems


def _problem(index: int, wanted: DeploymentSettings, error: ValueError) -> ConfigProblem:
    """Return what is wrong with a deployment, at its place in the list."""
    return ConfigProblem(f"deployments[{index}] ({wanted.name})", None, None, str(error))


def _same(offer: Offer, before: Offer | None) -> Offer:
    """Return an offer with the deployment before where nothing about that has changed."""
    if before is None or before.deployment != offer.deployment:
        return offer
    return replace(offer, deployment=before.deployment)


def _defaults(providers: Iterable[Provider], environ: Mapping[str, str]) -> Iterable[DeploymentSettings]:
    """
    Return what each provider offers without a file.

    Raises:
        SettingsError: a variable of the environment holds what no file may, such as too short a secret.
    """
    for provider in providers:
        for deployment in provider.defaults(environ):
            try:
                yield _of_environment(deployment)
            except ValidationError as error:
                problems = [
                    ConfigProblem(f"{deployment.name}.{'.'.join(map(str, fault['loc']))}", None, None, fault["msg"])
                    for fault in error.errors(include_input=False, include_url=False, include_context=False)
                ]
                raise SettingsError(problems, source="environment") from None


def _of_environment(deployment: Deployment) -> DeploymentSettings:
    return DeploymentSettings(
        name=deployment.name,
        provider=deployment.provider,
        model=deployment.model,
        region=deployment.region,
        endpoint=deployment.endpoint,
        credential=deployment.credential.reveal(),
        options=dict(deployment.options),
        callback_secrets=tuple(secret.reveal() for secret in deployment.callback_secrets),
    )


def _offer(wanted: DeploymentSettings, providers: Mapping[str, Provider], callback_url: CallbackUrl) -> Offer:
    """
    Return a deployment as the router sees it.

    Raises:
        ValueError: naming the field, its value and the remedy.
    """
    provider = providers.get(wanted.provider)
    if provider is None:
        raise ValueError(f"provider: there is no {wanted.provider!r}; there are {', '.join(sorted(providers))}")
    model = provider.models.get(wanted.model)
    if model is None:
        raise ValueError(
            f"model: {wanted.provider} has no {wanted.model!r}; it has {', '.join(sorted(provider.models))}"
        )
    deployment = Deployment(
        name=wanted.name,
        provider=wanted.provider,
        model=wanted.model,
        region=wanted.region,
        endpoint=wanted.endpoint,
        credential=Secret(wanted.credential),
        options=wanted.options,
        callback_url=callback_url(wanted.name) if isinstance(provider, Notified) else "",
        callback_secrets=tuple(Secret(text) for text in wanted.callback_secrets),
    )
    provider.check(deployment)
    return Offer(
        deployment,
        model,
        wanted.priority,
        wanted.weight,
        wanted.labels,
        wanted.sandbox,
        wanted.longest_seconds,
        wanted.last_resort,
    )


def _priced(wanted: DeploymentSettings, listed: ListPrice | None) -> DeploymentSettings:
    """Return a deployment with its provider's list price where it names none of its own."""
    if wanted.dated_prices or listed is None:
        return wanted
    price = PriceSettings(usd=listed.usd, unit=listed.unit, valid_from=listed.valid_from, source=listed.source)
    return wanted.model_copy(update={"price": price})
