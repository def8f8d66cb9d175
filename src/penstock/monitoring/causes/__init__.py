"""Root cause as pure functions: requests of two periods in, the parts of the traffic that a change comes from out, ranked, with numbers."""
