"""The life of a process that works for another one: it ends soon after its parent, whatever ended that."""

import os
import threading
import time

NOT_IN_NUMBERS = ("*",)  # when the work ends, not what is done
SECONDS = 0.5
"""Between two looks at the parent."""


def end_with(parent: int) -> None:
    """End this process within a second after a process is no longer its parent.

    A signal that the system sends when a parent dies would not do: it comes when the thread ends that started
    this process. Nor would waiting for the parent to be process 1, which adopts orphans only where nobody
    else does: on a desktop the user's own systemd does.

    Parameters
    ----------
    parent
        Number of the process that started this one. If it has ended already, so does this one.
    """
    threading.Thread(target=_watch, args=(parent,), name="lifetime", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS)
    os._exit(1)  # at once: the main thread may be in the middle of a long computation
