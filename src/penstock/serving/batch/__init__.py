"""Batch inference: a file of rows in, a file of answers out, through a replica of the same bundle that serves online."""
