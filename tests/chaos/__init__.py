"""Random changes and faults at once, from a printed seed; the end is that of an undisturbed run."""
