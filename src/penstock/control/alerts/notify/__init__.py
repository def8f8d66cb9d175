"""Ways to tell people: one file each, made from the same message. Secrets are put in just before a message is sent, and kept nowhere."""
