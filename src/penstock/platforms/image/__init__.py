"""The one container image that every platform beyond this machine starts: made here, without a daemon, as an OCI image layout."""
