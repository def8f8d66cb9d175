"""HTTP API and web console. Floor 7. Empty until its issue; the CLI is the face for now."""
