"""The command that people use."""
