"""Pages that follow from the code: `make docs` writes them, and a test compares."""
