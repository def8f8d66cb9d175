"""A bundle and a dataset in, metrics, predictions and a report out."""
