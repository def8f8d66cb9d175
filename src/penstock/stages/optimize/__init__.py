"""A model in, the serving engine's form out."""
