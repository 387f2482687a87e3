"""Whom to ask, in which order, and what to do when one fails."""
