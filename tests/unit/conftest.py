"""Settings of the unit tests."""

from hypothesis import settings

settings.register_profile("shared-machine", deadline=None)  # a slow example is the machine's business
settings.load_profile("shared-machine")
