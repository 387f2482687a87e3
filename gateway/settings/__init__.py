"""
The one reader of the environment and of the configuration file. A wrong configuration cannot start.

Without a file the embedded defaults hold: an SQLite ledger under `MASKGATE_STATE_DIR`, the local engine, and one
deployment for each provider whose key is in the environment. A file (YAML, `MASKGATE_CONFIG` or `--config`) replaces
the deployments; `${NAME}` in it is taken from the environment.
"""

from gateway.settings.deployments import DeploymentSettings
from gateway.settings.file import FileSettings
from gateway.settings.loading import Settings, database_settings, load_settings, settings_from_yaml
from gateway.settings.locating import locate
from gateway.settings.prices import PriceSettings, PricingSettings
from gateway.settings.problem import ConfigProblem, SettingsError
from gateway.settings.rates import RateSettings
from gateway.settings.restarting import needs_restart
from gateway.settings.routing import DoubtSettings, RoutingSettings
from gateway.settings.section import Section
from gateway.settings.sections import (
    MOST_PIXELS,
    AccessSettings,
    AdminSettings,
    BudgetSettings,
    CacheSettings,
    FetchSettings,
    IdempotencySettings,
    LimitSettings,
    QuoteSettings,
    ReconcileSettings,
)
from gateway.settings.showing import MASK, shown, shown_environment
from gateway.settings.tenants import TenantSettings

__all__ = [
    "MASK",
    "MOST_PIXELS",
    "AccessSettings",
    "AdminSettings",
    "BudgetSettings",
    "CacheSettings",
    "ConfigProblem",
    "DeploymentSettings",
    "DoubtSettings",
    "FetchSettings",
    "FileSettings",
    "IdempotencySettings",
    "LimitSettings",
    "PriceSettings",
    "PricingSettings",
    "QuoteSettings",
    "RateSettings",
    "ReconcileSettings",
    "RoutingSettings",
    "Section",
    "Settings",
    "SettingsError",
    "TenantSettings",
    "database_settings",
    "load_settings",
    "locate",
    "needs_restart",
    "settings_from_yaml",
    "shown",
    "shown_environment",
]
