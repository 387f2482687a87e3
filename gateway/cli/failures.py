"""
How a command fails: one sentence on stderr and an exit code, never a traceback for what its user can mend.

    0    done
    1    something asked for was refused, failed, or is not as it should be; what could be done has been done
    2    the command line itself is wrong
    3    no gateway (or sandbox) could be reached or started
    130  interrupted
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

FAILED = 1
WRONG_COMMAND_LINE = 2
NO_GATEWAY = 3
INTERRUPTED = 130

EXIT_CODES = (
    "Exit codes: 0 done; 1 something was refused, failed or is not as it should be; 2 wrong command line; "
    "3 no gateway could be reached or started; 130 interrupted."
)


class CommandFailed(Exception):
    """A command that cannot do what was asked. The message tells its user why, and what to do."""

    def __init__(self, message: str, *, exit_code: int = FAILED) -> None:
        """Say why; see the table above for *exit_code*."""
        super().__init__(message)
        self.exit_code = exit_code


class Commands(TyperGroup):
    """All commands, ending as the table above says."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; turn what it fails with into a sentence and an exit code."""
        try:
            return super().invoke(ctx)
        except CommandFailed as failure:
            typer.echo(f"maskgate: {failure}", err=True)
            raise typer.Exit(failure.exit_code) from failure
        except KeyboardInterrupt as interruption:
            typer.echo("maskgate: interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from interruption
