"""Errors meant for the user: one clear message that names the thing and the remedy, and the exit code of a run."""

from __future__ import annotations


class LimbeckError(Exception):
    """An error whose message is written for the user; the command prints it without a traceback.

    Attributes:
        exit_code: what the process returns to the shell.
    """

    exit_code = 1


class ConfigurationError(LimbeckError, ValueError):
    """The configuration cannot be run as it stands; found before any work starts."""

    exit_code = 2


class InputError(LimbeckError, ValueError):
    """A structure, label, file or argument is not usable; the message names it and says what to do."""

    exit_code = 2


class GateFailed(LimbeckError):
    """The run is complete and kept, but a validation gate is not met."""

    exit_code = 3


class Interrupted(LimbeckError):
    """The run was asked to stop, has saved its state, and continues with the same command."""

    exit_code = 75
