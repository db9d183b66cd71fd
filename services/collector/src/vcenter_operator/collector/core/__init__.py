"""The pure part of the collector: no clock, no network, no files."""
