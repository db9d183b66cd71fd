"""Adapters of the discovery's ports, for real use and embedded."""
