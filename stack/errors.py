"""What can go wrong before and around the services.

StackError        every error of this package; `.hint` says what to type next
├── BinaryAbsent  no usable program was found or fetched; the stack runs without it
└── BinaryRefused a program the user named is not usable (no fallback is tried)
"""

from app.base.phrase import Phrase


class StackError(Exception):
    """An error with the next step for a person in `.hint`."""

    def __init__(self, message: str, hint: str = "") -> None:
        """Keep one line of what happened and one line of what to do."""
        super().__init__(message)
        self.hint = hint

    def line(self) -> str:
        """Return message and hint as the one line that is printed."""
        return Phrase("{message}. {hint}", message=self.args[0], hint=self.hint) if self.hint else self.args[0]


class BinaryAbsent(StackError):
    """No usable program was found or fetched."""


class BinaryRefused(StackError):
    """A program that the user named is not usable."""
