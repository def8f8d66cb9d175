"""A function of the user's own."""
