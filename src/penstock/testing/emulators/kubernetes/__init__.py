"""A Kubernetes API server and the parts behind it, as threads of one process; pods are processes of this machine.

What it proves: that every request is one that a real server takes (built-in kinds by its published schemas, custom kinds by their CRDs,
both closed), that we bear its errors, its watches and its faults, and that what runs in a pod works.
What it does not: networks, images, the scheduler's choices, admission by others, timings. See docs/how-to/run-on-kubernetes.md.
"""
