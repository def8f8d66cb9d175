"""Has what comes in, or goes out, moved away from a reference? Stored sketches in, distances with calibrated limits out."""
