"""What a deployment did in a time, as one self-contained page."""
