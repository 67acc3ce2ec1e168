"""Log files of our processes: bounded, private, without passwords."""

from __future__ import annotations

import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path

from app.base.files import private_folder
from app.base.redaction import Formatter

# Four files of 2 MB hold weeks of warnings, or months of runs, and never fill a disk.
MAX_BYTES = 2_000_000
KEPT_FILES = 3


def log_file(home: Path, name: str) -> logging.Handler:
    """A handler that writes to `<home>/logs/<name>.log`. Raises OSError when that cannot be written."""
    folder = home / "logs"
    private_folder(home)
    folder.mkdir(mode=0o700, exist_ok=True)
    handler = RotatingFileHandler(
        folder / f"{name}.log", maxBytes=MAX_BYTES, backupCount=KEPT_FILES, encoding="utf-8", delay=False
    )
    return _formatted(handler)


def log_console(home: Path) -> None:
    """Send warnings of every library and the console's own notes to its log file. A read-only home leaves stderr."""
    try:
        handler = log_file(home, "console")
    except OSError as error:
        logging.getLogger("vigie").warning("No log file: %s cannot be written (%s).", home / "logs", error)
        return
    logging.getLogger().addHandler(handler)
    logging.getLogger("streamlit").addHandler(handler)  # Streamlit's loggers do not propagate
    logging.getLogger("vigie").setLevel(logging.INFO)


def log_jobs(home: Path) -> None:
    """Send what the job host says to its log file, or to stderr when the home is read-only."""
    try:
        handler = log_file(home, "jobs")
    except OSError:
        handler = _formatted(logging.StreamHandler())
    logger = logging.getLogger("vigie.jobs")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def log_script_error(error: Exception) -> None:
    """Write what ended a page's script to the log file too; the visitor sees no trace."""
    logging.getLogger("vigie.console").error("a page's script failed", exc_info=error)


def _formatted(handler: logging.Handler) -> logging.Handler:
    handler.setFormatter(Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    handler.setLevel(logging.INFO)
    return handler
