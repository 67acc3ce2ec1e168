"""The console's own log file, `<home>/logs/console.log`."""

from __future__ import annotations

import logging
from logging.handlers import RotatingFileHandler

from app.config import Settings
from app.files import private_folder
from app.redaction import Formatter

# Three files of 2 MB hold weeks of warnings and never fill a disk.
MAX_BYTES = 2_000_000
KEPT_FILES = 3


def log_script_error(error: Exception) -> None:
    """Write what ended a page's script to the log file too; the visitor sees no trace."""
    logging.getLogger("vigie.console").error("a page's script failed", exc_info=error)


def log_to_file(settings: Settings) -> None:
    """Send warnings of every library and the console's own notes to the log file. A read-only home leaves stderr."""
    folder = settings.home / "logs"
    try:
        private_folder(settings.home)
        folder.mkdir(mode=0o700, exist_ok=True)
        handler = RotatingFileHandler(
            folder / "console.log", maxBytes=MAX_BYTES, backupCount=KEPT_FILES, encoding="utf-8", delay=False
        )
    except OSError as error:
        logging.getLogger("vigie").warning("No log file: %s cannot be written (%s).", folder, error)
        return
    handler.setFormatter(Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    handler.setLevel(logging.INFO)
    root = logging.getLogger()
    root.addHandler(handler)
    logging.getLogger("streamlit").addHandler(handler)  # Streamlit's loggers do not propagate
    logging.getLogger("vigie").setLevel(logging.INFO)
