"""The pipeline file as types: what may be written, what is refused and where. Imports only core. Floor 1."""
