"""What live requests are compared with: features of the rows that a version was evaluated on, as sketches with limits."""
