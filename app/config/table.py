"""What every table of a system file shares: an unknown key is an error, and nothing changes once it is read."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict
from pydantic import Field as Key

Text = Annotated[str, Key(min_length=1, max_length=4000)]


class Table(BaseModel):
    """A TOML table."""

    model_config = ConfigDict(extra="forbid", frozen=True)
