"""The pure part of the applier: no clock, no network, no files."""
