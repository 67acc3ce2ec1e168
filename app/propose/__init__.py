"""A system file proposed from what a service says about itself: `/openapi.json` and `/metrics` of a typed address.

`look` reads the two (and nothing else), `draft` writes the file, `save` keeps it once it has been tried.
"""

from app.propose.drafting import Confidence, Finding, Proposal, Seen, draft, renamed
from app.propose.reading import look, propose, tidy_url
from app.propose.saving import MAX_CHARS, Saved, announces, by_hand, read, save, target_folder

__all__ = [
    "MAX_CHARS",
    "Confidence",
    "Finding",
    "Proposal",
    "Saved",
    "Seen",
    "announces",
    "by_hand",
    "draft",
    "look",
    "propose",
    "read",
    "renamed",
    "save",
    "target_folder",
    "tidy_url",
]
