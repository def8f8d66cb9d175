"""A dataset in, a model artifact out."""
