"""Adapters of the collector's ports, for real use and embedded."""
