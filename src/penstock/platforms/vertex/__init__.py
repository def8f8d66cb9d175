"""Google Vertex AI. Empty until its issue."""
