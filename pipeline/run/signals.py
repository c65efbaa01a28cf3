"""Ctrl-C and SIGTERM while a study runs."""

import contextlib
import os
import signal
from collections.abc import Iterator

_STOPPING = b"nacim: stopping; once more ends it at once\n"
_AT_ONCE = b"nacim: ended at once; finished trials are kept, run the same command to go on\n"
_INTERRUPTED = 130  # exit code


class _Stop:
    """What a signal does: the first one interrupts, the second one is answered, the third one ends the process."""

    def __init__(self) -> None:
        self.came = 0

    def __call__(self, signum: int, frame: object) -> None:
        self.came += 1
        if self.came == 1:
            raise KeyboardInterrupt
        os.write(2, _STOPPING if self.came == 2 else _AT_ONCE)
        if self.came > 2:
            os._exit(_INTERRUPTED)


@contextlib.contextmanager
def stopped_like_ctrl_c(to_the_end: bool = False) -> Iterator[None]:
    """Let SIGTERM, which schedulers and init systems send, stop a run as cleanly as Ctrl-C.

    The first of them raises KeyboardInterrupt. The second is only answered: the run is stopping. The third ends the
    process at once, as kill -9 does, which loses nothing either. Such a block may stand in another one.

    Args:
        to_the_end: After a signal this stays so until the process ends, which is about to.
    """
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    if any(isinstance(handler, _Stop) for handler in before.values()):
        yield
        return
    stop = _Stop()
    taken = {each: handler for each, handler in before.items() if handler is not signal.SIG_IGN}  # ignored by nohup, &
    for each in taken:
        signal.signal(each, stop)
    try:
        yield
    finally:
        if not (stop.came and to_the_end):
            for each, handler in taken.items():
                signal.signal(each, handler)
