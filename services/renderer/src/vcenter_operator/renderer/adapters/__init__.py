"""Adapters of the renderer's ports, for real use and embedded."""
