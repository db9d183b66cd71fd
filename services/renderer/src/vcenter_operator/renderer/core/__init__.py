"""The pure part of the renderer: no clock, no network, no files."""
