"""An export in, the bytes to be served out."""
