"""Errors that a user can act on; the exit code tells the launcher whether to try again.

ProjectError            1    our bug, if it ever reaches the user as such
├── ConfigError         64   the user's input: recipe, override, argument
├── DeterministicError  65   the same would happen again: do not retry
├── DataError           66   bad or missing data, artifact or bundle
├── RetryError          75   a fault of the moment: try again
└── Preempted           143  asked to stop; everything committed is kept
"""

from typing import ClassVar


class ProjectError(Exception):
    """A failure that one line explains: what was found, where, and what to do."""

    exit_code: ClassVar[int] = 1


class ConfigError(ProjectError):
    """The user's input is wrong."""

    exit_code = 64


class DeterministicError(ProjectError):
    """A pure function of the run failed: it would fail again on any machine."""

    exit_code = 65


class DataError(ProjectError):
    """A source, shard, artifact, checkpoint or bundle is missing or not what its hash says."""

    exit_code = 66


class RetryError(ProjectError):
    """A process, network or disk failed; nothing committed is lost."""

    exit_code = 75


class Preempted(ProjectError):  # noqa: N818 (what happened is no error)
    """The run was asked to stop."""

    exit_code = 143
