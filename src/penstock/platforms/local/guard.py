"""A small process beside each worker that ends the worker, and all that its job started, when the control process is gone.

It needs no cooperation: the worker may hold the interpreter's lock for minutes, and its children know nothing of us.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal


def guard(commands: int) -> None:
    """Forks (so call it before there are threads). `commands` is the read end of a pipe whose only writer is the control process.

    The guard is a member of the worker's process group, so that its number cannot be given to others while the guard lives,
    but not its child, so that a worker's children are those of its job.
    """
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    if os.fork():
        os._exit(0)
    for handle in (h for h in range(256) if h != commands):
        with contextlib.suppress(OSError):
            os.close(handle)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    poll = select.poll()
    poll.register(commands, 0)  # data is the worker's to read; the writer's end is always reported
    while not poll.poll():
        pass
    os.killpg(0, signal.SIGKILL)
