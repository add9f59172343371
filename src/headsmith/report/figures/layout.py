"""Sizes that the pictures share, so that their layers stand in line on the page."""

from __future__ import annotations

__all__ = ["LABEL", "WIDTH"]

WIDTH = 760.0
LABEL = 72.0
"""Room for "Layer 12" on the left."""
