"""The watcher: one process a home that turns the gateway's records and feedback into signals."""
