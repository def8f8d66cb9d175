"""Records to windows to signals to alerts. Floor 4. Empty until its issue; records are written by serving."""
