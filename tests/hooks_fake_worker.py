"""A drift worker for the tests of hooks: saves a result with the share, the threshold and the months of its arguments."""

from app.config import load_systems
from app.drift.result import Months, Policy, Result, Target, Verdict
from app.jobs import Job
from app.runs import reports
from app.runs.run import Ending, State
from app.runs.source import Source

REASON = "7 of 16 columns drifted: </script><b>watch_hours</b> 0.31 ≥ 0.10."


def preload() -> None:
    """Nothing heavy is needed."""


def run(job: Job) -> Ending:
    system = load_systems(job.settings).by_id[job.system]
    policy, share = Policy.of(system.drift, job.args.get("threshold")), job.args.get("share", 7 / 16)
    verdict = Verdict.UNDECIDED
    if share is not None:
        verdict = Verdict.RETRAINING_TRIGGERED if share >= policy.threshold else Verdict.NO_ACTION
    result = Result(
        run=job.run,
        system=job.system,
        ref=Months(job.args.get("ref", "2024-01-31"), 7043, 7043),
        cur=Months(job.args.get("cur", "2024-02-29"), 7043, 7043),
        policy=policy,
        share=share,
        k=None if share is None else 7,
        n=16,
        share_features=share,
        columns=(),
        target_drift=Target(reason="no labels"),
        decision=verdict,
        reason=REASON,
        line="",
        seconds=0.1,
        peak_bytes=None,
        source=Source.from_dict(job.args.get("source")),
    )
    path = reports.save(
        reports.report_dir(job.settings, system), job.run, "drift", {"result.json": result.to_json()}, ()
    )
    return Ending(State.DONE, verdict.value, REASON, path)
