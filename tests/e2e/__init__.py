"""The whole pipeline against real servers."""
