"""The measure of drift: records into the features of the reference, windows into distances, distances into signals."""
