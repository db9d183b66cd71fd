"""Adapters of the applier's ports, for real use and embedded."""
