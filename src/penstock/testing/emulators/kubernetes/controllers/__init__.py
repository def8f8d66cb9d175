"""The controllers, one file each: `sync(world)` looks at every object of its kind and takes the next steps."""
