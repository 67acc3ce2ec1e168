"""What sending costs and whether what is measured is true: our load engine beside other ways to send.

    python benchmarks/load_engine.py [--rate 200] [--seconds 5] [--repeats 5]

Each sender runs in a process of its own against a small server on loopback, in turn, several times. Two tables:
CPU seconds per 1,000 requests of the sender alone at a paced rate, with the p99 it reports for a server that answers at
once; and the p95 it reports when the server stands still for one second, beside the truth, which is arithmetic: whoever
was due during the stall waits until its end. Senders that are not installed (Locust, hey, wrk) are left out and named.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# As many connections as a person would choose; the stall is what they cannot hide.
CONNECTIONS = 32
STALL_SECONDS = 1.0
BODY = {"user_id": "U0001"}
PYTHON = ("engine", "requests", "httpx")
TOOLS = ("hey", "wrk", "locust")


# --- the server -------------------------------------------------------------------------------------------------------


def serve(stall_at: int) -> None:
    """Answer every request at once; stand still for a second when request `stall_at` comes."""
    import httptools

    answered = [0]
    body = b'{"prediction": 1}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    class Server(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport, self.parser = transport, httptools.HttpRequestParser(self)

        def data_received(self, data):
            self.parser.feed_data(data)

        def on_message_complete(self):
            answered[0] += 1
            if answered[0] == stall_at:
                time.sleep(STALL_SECONDS)
            self.transport.write(answer)

    async def main():
        server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=1024)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(main())


# --- the senders: each returns the latencies it would report, in seconds ----------------------------------------------


def engine(url: str, rate: float, seconds: float) -> dict:
    from app.config import Request, System
    from app.egress import check_address
    from app.load import engine as ours
    from app.load import payload
    from app.load.plan import Plan

    system = System(id="bench", title="Bench", request=Request(body=BODY), load={"max_rate": 1000})
    plan = Plan.from_args({"rate": rate, "duration": seconds, "in_flight": CONNECTIONS}, system)
    payloads = payload.make(plan, None, system)
    where = ours.target(check_address(url), system, payloads, None)
    begun = time.process_time()
    tally = ours.drive(plan, payloads, where, stop=threading.Event())
    cpu = time.process_time() - begun
    return {"cpu": cpu, "sent": tally.sent, "p95": tally.response.percentile(95), "p99": tally.response.percentile(99)}


def requests(url: str, rate: float, seconds: float) -> dict:
    import requests as library

    local = threading.local()

    def send(_number):
        session = getattr(local, "session", None) or library.Session()
        local.session = session
        started = time.perf_counter()
        session.post(url + "/predict", json=BODY, timeout=10)
        return time.perf_counter() - started

    begun, start = time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        futures = []
        for number in range(int(rate * seconds)):
            time.sleep(max(0.0, start + number / rate - time.perf_counter()))
            futures.append(pool.submit(send, number))
        found = [future.result() for future in futures]
    return summary(found, time.process_time() - begun)


def httpx(url: str, rate: float, seconds: float) -> dict:
    import httpx as library

    async def main():
        found = []
        gate = asyncio.Semaphore(CONNECTIONS)
        async with library.AsyncClient(timeout=10, limits=library.Limits(max_connections=CONNECTIONS)) as client:

            async def send():
                async with gate:
                    started = time.perf_counter()
                    await client.post(url + "/predict", json=BODY)
                    found.append(time.perf_counter() - started)

            start, tasks = time.perf_counter(), []
            for number in range(int(rate * seconds)):
                await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
                tasks.append(asyncio.create_task(send()))
            await asyncio.gather(*tasks)
        return found

    begun = time.process_time()
    return summary(asyncio.run(main()), time.process_time() - begun)


def summary(latencies: list[float], cpu: float) -> dict:
    p95, p99 = np.percentile(latencies, [95, 99], method="inverted_cdf").tolist()
    return {"cpu": cpu, "sent": len(latencies), "p95": p95, "p99": p99}


# --- programs on PATH -------------------------------------------------------------------------------------------------

WRKFILE = """
wrk.method = 'POST'
wrk.body = '{body}'
wrk.headers['Content-Type'] = 'application/json'
"""
LOCUSTFILE = """
from locust import FastHttpUser, constant_throughput, task
class Sender(FastHttpUser):
    wait_time = constant_throughput({each})
    @task
    def predict(self):
        self.client.post("/predict", json={body})
"""


def tool(name: str, url: str, rate: float, seconds: float, folder: Path) -> dict | None:
    """Run a program and read its own report; None when its output is not understood."""
    count, each = int(rate * seconds), rate / CONNECTIONS
    if name == "hey":
        command = ["hey", "-n", str(count), "-c", str(CONNECTIONS), "-q", f"{each:g}", "-m", "POST",
                   "-T", "application/json", "-d", json.dumps(BODY), url + "/predict"]  # fmt: skip
    elif name == "wrk":
        script = folder / "post.lua"
        script.write_text(WRKFILE.format(body=json.dumps(BODY)))
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "--latency", "-s", str(script)]
        command.append(url + "/predict")
    else:
        script = folder / "locustfile.py"
        script.write_text(LOCUSTFILE.format(each=each, body=BODY))
        command = ["locust", "-f", str(script), "--headless", "-u", str(CONNECTIONS), "-r", str(CONNECTIONS),
                   "--host", url, "-t", f"{seconds:g}s", "--csv", str(folder / "locust")]  # fmt: skip
    before = os.times()
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds * 4 + 30, check=False)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return read_report(name, done.stdout, folder, cpu)


def read_report(name: str, text: str, folder: Path, cpu: float) -> dict | None:
    if name == "locust":
        import csv

        rows = list(csv.DictReader((folder / "locust_stats.csv").open()))
        row = next((one for one in rows if one["Name"] == "Aggregated"), None)
        if row is None:
            return None
        p95, p99 = (float(row[name]) / 1e3 for name in ("95%", "99%"))
        return {"cpu": cpu, "sent": int(row["Request Count"]), "p95": p95, "p99": p99}
    if name == "hey":
        found = {int(percent): float(value) for percent, value in re.findall(r"(\d+)% in ([\d.]+) secs", text)}
        sent = sum(int(number) for number in re.findall(r"\[\d+\]\s+(\d+) responses", text))
        return {"cpu": cpu, "sent": sent, "p95": found[95], "p99": found[99]} if 99 in found and sent else None
    units = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    sent = re.search(r"(\d+) requests in", text)
    if p99 is None or sent is None:
        return None
    # wrk prints no p95 and sends as fast as it can: only its cost is comparable
    return {"cpu": cpu, "sent": int(sent[1]), "p95": None, "p99": float(p99[1]) * units[p99[2]]}


# --- the comparison ---------------------------------------------------------------------------------------------------


def measure(name: str, rate: float, seconds: float, stall_at: int, folder: Path) -> dict | None:
    """One run of one sender against a fresh server."""
    server = subprocess.Popen([sys.executable, __file__, "--serve", str(stall_at)], stdout=subprocess.PIPE, text=True)
    try:
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        if name in TOOLS:
            return tool(name, url, rate, seconds, folder)
        command = [sys.executable, __file__, "--send", name, "--url", url]
        command += ["--rate", str(rate), "--seconds", str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds * 6 + 60, check=True)
        return json.loads(done.stdout)
    finally:
        server.kill()
        server.wait()


def compare(names: list[str], options: argparse.Namespace, stall_at: int, folder: Path) -> dict[str, list[dict]]:
    """Every sender once, then every sender again: what else the machine does hits all alike."""
    rows: dict[str, list[dict]] = {name: [] for name in names}
    for _ in range(options.repeats):
        for name in names:
            found = measure(name, options.rate, options.seconds, stall_at, folder)
            if found is not None:
                rows[name].append(found)
    return rows


def shown(values: list[float], scale: float, unit: str) -> str:
    if not values:
        return "not measured"
    low, middle, high = min(values) * scale, statistics.median(values) * scale, max(values) * scale
    return f"{middle:8.3g} {unit} ({low:.3g} to {high:.3g})"


def report(names: list[str], options: argparse.Namespace, folder: Path) -> None:
    total = int(options.rate * options.seconds)
    calm = compare(names, options, 0, folder)
    stalled = compare([name for name in names if name != "wrk"], options, total // 3, folder)
    waits = sorted(np.linspace(0, STALL_SECONDS, int(options.rate * STALL_SECONDS), endpoint=False))
    exact = sorted([0.0] * (total - len(waits)) + waits)
    truth = exact[math.ceil(0.95 * total) - 1]
    costs = {name: [row["cpu"] / row["sent"] * 1000 for row in rows] for name, rows in calm.items()}
    own = statistics.median(costs["engine"])
    plan = f"{options.rate:g} requests a second for {options.seconds:g} s, {CONNECTIONS} connections"
    print(f"{plan}, {options.repeats} repeats; median (range)\n")
    print("CPU seconds per 1,000 requests, sender alone (programs with their start; wrk unpaced) · p99 it reports")
    for name, values in sorted(costs.items(), key=lambda pair: statistics.median(pair[1] or [math.inf])):
        ratio = f"{statistics.median(values) / own:5.2f}x" if values else ""
        verdict = "  <- cheaper than ours" if values and statistics.median(values) < own else ""
        p99 = shown([row["p99"] for row in calm[name]], 1e3, "ms")
        print(f"  {name:9} {shown(values, 1, 's'):34} {ratio:7} {p99}{verdict}")
    print(f"\np95 reported with one stall of {STALL_SECONDS:g} s; the truth is {truth * 1e3:.0f} ms")
    for name, rows in stalled.items():
        values = [row["p95"] for row in rows if row["p95"] is not None]
        wrong = statistics.median(values) / truth - 1 if values else math.nan
        print(f"  {name:9} {shown(values, 1e3, 'ms'):34} {wrong:+.0%} against the truth")
    missing = [name for name in TOOLS if name not in names]
    if missing:
        print(f"\nnot on PATH, not measured: {', '.join(missing)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--send", choices=PYTHON, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve)
    elif options.send:
        senders = {"engine": engine, "requests": requests, "httpx": httpx}
        print(json.dumps(senders[options.send](options.url, options.rate, options.seconds)))
    else:
        import tempfile

        names = [*PYTHON, *(name for name in TOOLS if shutil.which(name))]
        with tempfile.TemporaryDirectory() as folder:
            report(names, options, Path(folder))


if __name__ == "__main__":
    main()
