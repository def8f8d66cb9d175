"""What happened and what was made: resources, events, builds, registry, metric points, keys, audit; artifacts. Floor 2."""
