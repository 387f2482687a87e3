"""Runflow: SAM 3 as runs that are created, awaited and collected."""

from providers.runflow.adapter import Runflow

__all__ = ["Runflow"]
