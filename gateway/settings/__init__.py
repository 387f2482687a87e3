"""
The one reader of the environment and of the configuration file. A wrong configuration cannot start.

Without a file the embedded defaults hold: an SQLite ledger under `MASKGATE_STATE_DIR`, the local engine, and one
deployment for each provider whose key is in the environment. A file (YAML, `MASKGATE_CONFIG` or `--config`) replaces
the deployments; `${NAME}` in it is taken from the environment.
"""

from gateway.settings.deployments import DeploymentSettings
from gateway.settings.file import FileSettings
from gateway.settings.loading import Settings, load_settings, settings_from_yaml
from gateway.settings.prices import PriceSettings, PricingSettings
from gateway.settings.problem import ConfigProblem, SettingsError
from gateway.settings.rates import RateSettings
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
from gateway.settings.tenants import TenantSettings

__all__ = [
    "MOST_PIXELS",
    "AccessSettings",
    "AdminSettings",
    "BudgetSettings",
    "CacheSettings",
    "ConfigProblem",
    "DeploymentSettings",
    "FetchSettings",
    "FileSettings",
    "IdempotencySettings",
    "LimitSettings",
    "PriceSettings",
    "PricingSettings",
    "QuoteSettings",
    "RateSettings",
    "ReconcileSettings",
    "Section",
    "Settings",
    "SettingsError",
    "TenantSettings",
    "load_settings",
    "settings_from_yaml",
]
