"""Azure ML. Empty until its issue."""
