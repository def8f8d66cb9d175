"""The request path: gateway, replica, records. Floor 4."""
