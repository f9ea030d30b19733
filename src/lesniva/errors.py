"""What can go wrong, and who can mend it.

::

    LesnivaError                  exit  who mends it
    ├── InputError                  2   the user: the command, the pipeline file or the area file
    ├── NoDataError                 4   the user or time: no scenes, no clear pixels, few years
    ├── SourceError                 5   time or the provider: a source cannot be reached
    │   └── UnreadableSceneError    5   the provider: one file is broken (the run goes on)
    ├── CredentialsError            6   the user: credentials are missing, refused, or out of quota
    ├── EnvironmentFaultError       7   the administrator: disk, permissions, missing programs
    └── LockedError                75   time: another run holds the work folder

Anything else that reaches the command line is a fault of ours (exit 1). A run that finished except
for some blocks or scenes raises nothing: it reports them and exits with ``PARTIAL``.
Every message says what was asked, what was found and what to do, in one line.
"""

from typing import ClassVar

DONE = 0
INTERNAL = 1
PARTIAL = 3


class LesnivaError(Exception):
    """Base of all errors a user can be told about; ``exit_code`` is what the command returns."""

    exit_code: ClassVar[int] = INTERNAL


class InputError(LesnivaError):
    """The command, the pipeline file or an input file is wrong."""

    exit_code = 2


class NoDataError(LesnivaError):
    """There is no data, or not enough of it, to do what was asked."""

    exit_code = 4


class SourceError(LesnivaError):
    """A source of imagery cannot be reached or answers nonsense."""

    exit_code = 5


class UnreadableSceneError(SourceError):
    """One file of one scene cannot be read; the rest may go on."""


class CredentialsError(LesnivaError):
    """Credentials are missing or refused, or the quota is used up."""

    exit_code = 6


class EnvironmentFaultError(LesnivaError):
    """The disk, its permissions or an installed program stands in the way."""

    exit_code = 7


class LockedError(LesnivaError):
    """Another run holds the work folder."""

    exit_code = 75
