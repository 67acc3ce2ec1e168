"""How a comparison is asked for: the key that tells equal runs, and the arguments of the job. Light."""

from __future__ import annotations

from app.config import System
from app.drift.result import Policy


def job_key(system: System, ref: str, cur: str, policy: Policy) -> str:
    """One run per system, pair of period keys and policy: a second start joins the first."""
    return f"drift:{system.id}:{ref}:{cur}:{policy.digest}"


def job_args(ref: str, cur: str, policy: Policy) -> dict[str, str | float]:
    """The arguments of the job; `threshold` is a share of columns."""
    return {"ref": ref, "cur": cur, "threshold": policy.threshold}
