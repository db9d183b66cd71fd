"""The pure part of the discovery: no clock, no network, no files."""
