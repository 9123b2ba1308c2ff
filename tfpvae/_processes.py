"""What holds threads or sockets of its own, in the children of a process."""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Any, Protocol


class Reopens(Protocol):
    """What can begin anew in a forked child."""

    def reopen_in_child(self) -> None:
        """Gives up what it shares with the parent, and opens its own when it is next used."""


_OPEN: weakref.WeakSet[Any] = weakref.WeakSet()


def reopen_in_forked_children(it: Reopens) -> None:
    """Has `it.reopen_in_child()` called in every child that `os.fork` makes of this process."""
    _OPEN.add(it)


def keep_for_ever(thing: object) -> None:
    """Keeps a thing of the parent's from being freed in a forked child.

    The threads of the parent are not there in the child. What waits for its threads when it is freed, as a session of
    ONNX Runtime does, would wait for ever or crash, also at the end of the process.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def exit_without_destructors() -> None:
    """Has a forked child end, by `sys.exit` too, without the destructors of the C++ libraries that its parent loaded.

    Those of ONNX Runtime wait for ever for threads that only the parent has; importing it is enough. Python has run its
    own exit handlers and flushed its files by then. Only glibc can do it: elsewhere nothing changes.
    """
    try:
        libc = ctypes.CDLL(None)
        libc.on_exit(libc["_exit"], None)  # It is called with the exit status, before what was registered earlier.
    except (AttributeError, OSError):
        pass


def _reopen_all() -> None:
    for it in list(_OPEN):
        it.reopen_in_child()


if hasattr(os, "register_at_fork"):  # Windows has no fork.
    os.register_at_fork(after_in_child=_reopen_all)
