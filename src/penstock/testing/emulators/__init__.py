"""Emulators of vendors: strict about every request, keeping state, and really running what they are asked to run."""
