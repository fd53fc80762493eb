"""Errors that optevo answers with one line instead of a traceback."""


class OptevoError(Exception):
    """Something failed at run time. The command line prints its message on one line and exits with code 1."""

    exit_code = 1


class InterruptedRunError(OptevoError):
    """Ctrl-C or SIGTERM ended the work cleanly; it can be continued. Exit code 130, as shells have it."""

    exit_code = 130


class UsageError(OptevoError):
    """Wrong usage, specification or input: the message names the file, the key, the value and the cure. Exit code 2."""

    exit_code = 2
