"""Small stand-ins for what the real servers cannot be made to do."""
