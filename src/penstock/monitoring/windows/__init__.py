"""Records folded into windows: counts, sums and quantile sketches by version, replica and slice; on disk, and as signals."""
