"""Where the data of a run came from, so that runs of another source are never taken for this system's own.

A run carries its source in `progress.json`, in `result.json` and in the index. A run is a system's own when its
fingerprint equals that of `own_source.source_of` now; an empty fingerprint is equal to none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.words.message import sentences, t

# 64 bits tell the sources of one index apart; shorter is easier to compare by eye.
FINGERPRINT_CHARS: Final = 16
# An address is a line in a table, not a document.
MAX_ADDRESS: Final = 500
# Kinds that are never a system's own.
APART: Final = ("upload", "frames", "imported")


@dataclass(frozen=True, slots=True)
class Source:
    """Where the data of a run came from: `kind`, `address` for a person (no password), `fingerprint` for equality.

    Kinds: `feast`, `sql`, `files` and `gauge` are the `[drift]` table of a system; `api` is the service that traffic
    went to; `upload` (files given in a page) and `frames` (tables given in Python) are their own sources; `imported`
    is a report made elsewhere; `unknown` is a run of an older version, of which nothing more can be
    read; "" is a row that no scan has looked at yet. Make one with `Source.of`, for example
    `Source.of("upload", "jan.csv, feb.csv", sha256_of_jan, sha256_of_feb)`.

    A worker with its own source puts it into its result (`Result.source`) and anyone who starts the job puts
    `as_dict()` into the arguments under "source"; nothing else is needed: lists name the source, and no gauge, mark,
    history or latest decision of the system counts the run.
    """

    kind: str = ""
    address: str = ""
    fingerprint: str = ""

    @classmethod
    def of(cls, kind: str, address: str, *identity: str) -> Source:
        """A source whose fingerprint is made of its kind and `identity`, else of its address."""
        parts = "\0".join((kind, *(identity or (address,))))
        digest = hashlib.sha256(parts.encode("utf-8", "replace")).hexdigest()
        return cls(kind, address[:MAX_ADDRESS], digest[:FINGERPRINT_CHARS])

    @classmethod
    def from_dict(cls, raw: object) -> Source | None:
        """What `as_dict` gave; None for anything else."""
        if not isinstance(raw, Mapping) or not isinstance(raw.get("kind"), str) or not raw["kind"]:
            return None
        address, fingerprint = str(raw.get("address") or ""), str(raw.get("fingerprint") or "")
        return cls(raw["kind"][:16], address[:MAX_ADDRESS], fingerprint[:64])

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return {"kind": self.kind, "address": self.address, "fingerprint": self.fingerprint}

    def word(self, own: Collection[str]) -> str:
        """`own`, or what else it is, for a column of a list; `own` are the fingerprints of the system's own sources."""
        if self.fingerprint and self.fingerprint in own:
            return "own"
        return self.kind if self.kind in APART else "another" if self.fingerprint else UNKNOWN.kind

    def elsewhere(self, own: Collection[str]) -> str:
        """Why a run of this source says nothing for the system, as a sentence; empty for the system's own."""
        word = self.word(own)
        if word == "own":
            return ""
        what = {
            "upload": t("Compared from files that were given: {files}.", files=self.address),
            "frames": t("Compared from tables in Python: {tables}.", tables=self.address),
            "imported": t("Imported: it was made elsewhere."),
            "another": t("Its data came from another source than this system has now: {source}.", source=self.address),
        }.get(word, t("The version that made it did not write down where its data came from."))
        if word == "another" and self.kind == "api":
            what = t(
                "Its requests went to another service, or under another Prometheus, than now: {address}.",
                address=self.address,
            )
        return sentences([what, t("It moves no gauge and is not the system's latest decision or traffic.")])

    def same(self, other: Source | None) -> bool:
        """Whether both are known to be the same source."""
        return other is not None and bool(self.fingerprint) and self.fingerprint == other.fingerprint


UNKNOWN: Final = Source("unknown")


def columns_of(source: Source) -> dict[str, Any]:
    """The columns of the index that say where a run's data came from."""
    return {"source_kind": source.kind, "source_address": source.address, "source_id": source.fingerprint}
