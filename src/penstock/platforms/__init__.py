"""Where work runs; the only home of vendor SDKs. Floor 5."""
