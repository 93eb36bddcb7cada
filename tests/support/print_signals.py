"""Prints the number of each signal that it receives, until SIGTERM ends it with 0."""

import os
import signal


def main() -> None:
    """Receive and print."""
    received = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, received)
    os.write(1, b"READY\n")
    number = 0
    while number != signal.SIGTERM:
        number = signal.sigwaitinfo(received).si_signo
        os.write(1, b"got %d\n" % number)
    while (left := signal.sigtimedwait(received, 0)) is not None:
        os.write(1, b"got %d\n" % left.si_signo)


if __name__ == "__main__":
    main()
