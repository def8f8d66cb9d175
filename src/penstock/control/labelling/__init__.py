"""The labelling queue: requests put to people, and what their answers become."""
