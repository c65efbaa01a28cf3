"""Errors that are the machine's, not the design's: another machine, or this one with room and memory, raises none."""

import errno
import os
import re
import resource
import signal
from collections.abc import Iterator

_SHORT_OF = (  # what the system says if it lacks something, however many layers have wrapped its error
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.ESTALE),
    *(errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENAMETOOLONG),
)
_IN_TEXT = re.compile("|".join(map(re.escape, map(os.strerror, _SHORT_OF))))  # inside the text of another error
_THREADS = re.compile("can't start new thread")  # Python names no errno here
_OF_MEMORY = re.compile(f"{os.strerror(errno.ENOMEM)}|out of memory", re.IGNORECASE)
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGTRAP)  # a program's own, if it has memory
_SERVER_GONE = 255  # given by `multiprocessing` where its fork server is gone, which would know how a process ended
_TOLD = 120  # characters that a message repeats of an error


class MachineFault(RuntimeError):
    """The machine, or a file beside the study, is to blame; the message says for what, and the way out."""


class OutOfMemory(MachineFault):
    """The machine, or what a limit leaves of it, has too little memory for this design."""


def fault_of(error: BaseException) -> MachineFault | None:
    """The machine's fault that is behind an error; None if the error is not the machine's.

    It is known by what the system said: a `MemoryError`, an `OSError`, a library that cannot be loaded, or an errno
    that names a lack, also inside the text of an error that a library in C++ raised. An error that was being handled
    when another one came up counts only if it names a lack: a missing file, say, may be part of a plan.
    """
    for each, is_cause in _behind(error):
        text = "" if isinstance(each, ValueError) else str(each)  # a ValueError of ours repeats what is behind it
        if isinstance(each, MachineFault):
            return each
        if isinstance(each, MemoryError) or _OF_MEMORY.search(text):
            return OutOfMemory(f"{_told(each)}; free memory, lift its limit or start fewer --workers")
        if isinstance(each, OSError) and (is_cause or each.errno in _SHORT_OF):
            return MachineFault(f"{_told(each)}; make room, or mend what is named")
        if isinstance(each, ImportError) and is_cause:
            return MachineFault(f"{_told(each)}; mend the installation")
        if _THREADS.search(text):
            return MachineFault(f"{_told(each)}; lift the limits on processes and memory (ulimit -u, -v)")
        if not isinstance(each, OSError) and _IN_TEXT.search(text):
            return MachineFault(f"{_told(each)}; make room, or mend what is named")
    return None


def fault_of_death(exit_code: int | None) -> MachineFault | None:
    """The machine's fault that ended a process of ours; None if it crashed or ended by itself.

    Args:
        exit_code: As `multiprocessing` gives it, -N for the signal N; None if the process was gone at once.
    """
    died = f"its process died of {name_of_death(exit_code)}"
    if exit_code == _SERVER_GONE:
        return MachineFault("the process that starts the others is gone; free memory, lift its limit or run again")
    if exit_code is None or -exit_code == signal.SIGKILL:
        return OutOfMemory(f"{died}, as for lack of memory; free memory or start fewer --workers")
    if exit_code >= 0 or (-exit_code in _CRASHES and not _memory_is_limited()):
        return None
    if -exit_code in _CRASHES:
        return OutOfMemory(f"{died} under a limit on its memory; lift the limit (ulimit -v, ulimit -d)")
    return MachineFault(f"{died}; see what sends it")


def name_of_death(exit_code: int | None) -> str:
    """How a process ended, such as `SIGSEGV` or `exit code 1`."""
    if exit_code is None:
        return "unknown cause"
    if exit_code >= 0:
        return f"exit code {exit_code}"
    named = -exit_code in set(signal.Signals)  # real-time signals have no names
    return signal.Signals(-exit_code).name if named else f"signal {-exit_code}"


def _memory_is_limited() -> bool:
    """Whether an allocation may fail in this process and its children before the machine's memory is used up."""
    limits = (resource.getrlimit(each)[0] for each in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    return any(limit != resource.RLIM_INFINITY for limit in limits)


def _behind(error: BaseException) -> Iterator[tuple[BaseException, bool]]:
    """The error and those that led to it; False for one that was merely being handled, and for all behind it."""
    each: BaseException | None = error
    is_cause = True
    seen: set[int] = set()
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each, is_cause
        is_cause = is_cause and each.__cause__ is not None
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)


def _told(error: BaseException) -> str:
    """An error on one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = " ".join(str(error).split())[:_TOLD]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
