"""What every table of a system file shares: an unknown key is an error, and nothing changes once it is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict
from pydantic import Field as Key

from app.words.message import Message, t

Text = Annotated[str, Key(min_length=1, max_length=4000)]
# Mark keys whose text, or whose names, people read. Those of the shipped files are in the catalogue, and all are drawn
# by `t`: what is written in a file of one's own stays as it is.
READ: Final = "read by people"
NAMES_READ: Final = "names are read by people"
# What pydantic reports of most faults, by its own name of them; its other texts stay as they are.
REASONS: Final = {
    "missing": t("Field required"),
    "string_type": t("Input should be a valid string"),
    "int_type": t("Input should be a valid integer"),
    "int_from_float": t("Input should be a valid integer, got a number with a fractional part"),
    "float_type": t("Input should be a valid number"),
    "finite_number": t("Input should be a finite number"),
    "bool_type": t("Input should be a valid boolean"),
    "dict_type": t("Input should be a valid dictionary"),
    "tuple_type": t("Input should be a valid tuple"),
    "literal_error": t("Input should be {expected}"),
    "greater_than": t("Input should be greater than {gt:.12g}"),
    "greater_than_equal": t("Input should be greater than or equal to {ge:.12g}"),
    "less_than": t("Input should be less than {lt:.12g}"),
    "less_than_equal": t("Input should be less than or equal to {le:.12g}"),
    "string_pattern_mismatch": t("String should match pattern '{pattern}'"),
}


class Table(BaseModel):
    """A TOML table."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def reason(fault: Mapping[str, Any]) -> str:
    """Why pydantic refused a value."""
    facts = fault.get("ctx", {})
    ours: Message | None = REASONS.get(fault["type"])
    text: str = fault["msg"]
    if ours is not None:
        text = t(ours.id, **facts)
    elif fault["type"] == "value_error":
        text = facts["error"].args[0]
    return text
