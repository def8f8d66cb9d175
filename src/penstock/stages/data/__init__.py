"""Rows in, a dataset artifact out."""
