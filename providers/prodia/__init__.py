"""Prodia: one multipart POST that blocks until the masks are in its answer."""

from providers.prodia.adapter import Prodia

__all__ = ["Prodia"]
