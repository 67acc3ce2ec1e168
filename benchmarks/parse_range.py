"""The body of /query_range to columns: ours against json + MetricRangeDataFrame of prometheus-api-client.

Both sides read the same bytes in one run, in turn. Printed: median, range and ratio of CPU time for each size, the peak
of traced memory, and one row where our fast path cannot be taken (native histograms among the series).

    python benchmarks/parse_range.py [--repeats 5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
from prometheus_api_client import MetricRangeDataFrame

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app.prometheus import parse as module
from app.prometheus.parse import parse

# series, points of each
SIZES = [(1, 10), (1, 300), (3, 300), (20, 300), (50, 1500), (500, 1000)]


def body(series: int, points: int, *, histograms: bool = False) -> bytes:
    rng = np.random.default_rng(1)
    result = []
    for number in range(series):
        values = [[1_700_000_000 + 15 * at, repr(float(value))] for at, value in enumerate(rng.random(points))]
        labels = {"__name__": "m", "instance": f"10.0.0.{number}:8000", "job": "api", "endpoint": "/predict"}
        row = {"metric": labels, "values": values}
        if histograms and number == 0:
            row["histograms"] = [[1_700_000_000, {"count": "1", "sum": "1", "buckets": []}]]
        result.append(row)
    data = {"status": "success", "data": {"resultType": "matrix", "result": result}}
    return json.dumps(data, separators=(",", ":")).encode()


def ours(data: bytes) -> object:
    return parse(data)


def theirs(data: bytes) -> object:
    return MetricRangeDataFrame(json.loads(data)["data"]["result"])


def plain(data: bytes) -> object:
    """Our own slow path: json and a float for each sample."""
    return module._slow(data, "x", 200)  # noqa: SLF001 - the other side of the measurement


def cpu(call, data: bytes) -> float:
    started = time.process_time()
    call(data)
    return (time.process_time() - started) * 1000


def peak(call, data: bytes) -> float:
    tracemalloc.start()
    call(data)
    found = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return found


def measure(name: str, data: bytes, repeats: int) -> None:
    sides = {"ours": ours, "json + MetricRangeDataFrame": theirs, "json + numpy": plain}
    times: dict[str, list[float]] = {side: [] for side in sides}
    inner = max(1, 200_000 // len(data))  # small bodies are too quick for the clock
    for call in sides.values():
        call(data)
    for _ in range(repeats):
        for side, call in sides.items():
            times[side].append(sum(cpu(call, data) for _ in range(inner)) / inner)
    mine = statistics.median(times["ours"])
    print(f"{name}, {len(data) / 1e6:.2f} MB")
    for side, call in sides.items():
        found = statistics.median(times[side])
        ratio = found / mine if mine else float("nan")
        word = "" if side == "ours" else f"  {ratio:6.1f}x ours" + ("  (we lose)" if ratio < 1 else "")
        print(
            f"  {side:28} {found:9.3f} ms  [{min(times[side]):.3f} … {max(times[side]):.3f}]"
            f"  peak {peak(call, data):7.1f} MB{word}"
        )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--repeats", type=int, default=5)
    repeats = max(5, options.parse_args().repeats)
    print(f"CPU milliseconds, median of {repeats} interleaved repeats [lowest … highest]")
    for series, points in SIZES:
        measure(f"{series} series × {points} points", body(series, points), repeats)
    measure("50 series × 1500 points, one with histograms (slow path)", body(50, 1500, histograms=True), repeats)


if __name__ == "__main__":
    main()
