"""Errors that optevo answers with one line instead of a traceback."""


class OptevoError(Exception):
    """Something failed at run time. The command line prints its message on one line and exits with code 1."""

    exit_code = 1


class UsageError(OptevoError):
    """Wrong usage, specification or input: the message names the file, the key, the value and the cure. Exit code 2."""

    exit_code = 2
