"""What happened to a deployment and why, in order, from every row that tells of it."""
