"""Examples, and the demo that plays on them."""
