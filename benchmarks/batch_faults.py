"""20,000 pictures in an object store that fails, with workers killed every 20 s and the driver twice: every picture once, the same bytes.

    python benchmarks/batch_faults.py [--images 20000] [--shard-images 100] [--share 0.1] > benchmarks/results/batch_faults.log

The store is moto's S3 on loopback, behind the tests' proxy: of every ten requests one is refused with 503, breaks off half way, or
comes late. The pipeline does not look at the pictures (it answers by their hash), since what is tried is everything around it. The output
lies in the store too. First an undisturbed run, then the disturbed one; its log says what was killed when, and what came of it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from tests.helpers.jobs import parent, processes  # noqa: E402 - after the path that its workers need

from ferkit import Expression, Face, Result  # noqa: E402

_KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
_BEGUN = time.monotonic()


class Hashing:
    """A pipeline that answers by a picture's hash: zero, one or two faces."""

    classifier = SimpleNamespace(labels=("happy", "sad"), name="hashing")

    def __call__(self, data: bytes, keep_pixels: bool = False, max_side: int | None = None) -> Result:  # noqa: ARG002
        digest = hashlib.sha256(data).digest()
        share = round(digest[1] / 255, 6)
        expression = Expression("happy" if share >= 0.5 else "sad", max(share, 1 - share), {"happy": share, "sad": 1 - share})
        return Result(tuple(Face((n, 0, n + 10, 10), share, None, expression) for n in range(digest[0] % 3)), 16, 16)


def say(text: str) -> None:
    print(f"{time.monotonic() - _BEGUN:8.1f} s  {text}", flush=True)


def fill(count: int) -> None:
    """Put the pictures, and two empty buckets, into moto's store of this process: no request each."""
    from moto.s3.models import s3_backends

    backend = s3_backends["123456789012"]["aws"]
    for name in ("source", "target"):
        backend.create_bucket(name, "us-east-1")
    for number in range(count):
        backend.put_object("source", f"pictures/{number // 1000:02d}/{number:05d}.jpg", hashlib.sha256(str(number).encode()).digest() * 8)


class Driver:
    """One run of the command."""

    def __init__(self, address: str, output: str, shard_images: int) -> None:
        command = [
            sys.executable,
            "-m",
            "ferkit",
            "batch",
            "s3://source/pictures",
            f"s3://target/{output}",
            "--pipeline",
            "batch_faults:Hashing",
        ]
        command += ["--shard-images", str(shard_images), "--workers", "2", "--format", "json"]
        environment = os.environ | _KEYS | {"AWS_ENDPOINT_URL_S3": address, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)

    def workers(self) -> list[int]:
        return [pid for pid in processes() if parent(pid) == self.process.pid]


def objects(address: str, prefix: str) -> dict[str, bytes]:
    """Return the files of an output, without the job's notes."""
    import boto3

    client = boto3.client("s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="target", Prefix=f"{prefix}/")
    names = [one["Key"] for page in pages for one in page.get("Contents", []) if not one["Key"].startswith(f"{prefix}/_ferkit/")]
    return {name.removeprefix(f"{prefix}/"): client.get_object(Bucket="target", Key=name)["Body"].read() for name in names}


def disturbed(address: str, arguments: argparse.Namespace, done: Any) -> tuple[Counter[str], float]:
    """Run until it is done, killing on the way."""
    chance, deaths, began = random.Random(0), Counter[str](), time.monotonic()
    driver, next_death = Driver(address, "disturbed", arguments.shard_images), time.monotonic() + 20
    shards = -(-arguments.images // arguments.shard_images)
    driver_deaths = [shards // 3, 2 * shards // 3]
    while True:
        code = driver.process.poll()
        if code == 0:
            return deaths, time.monotonic() - began
        if code is not None:
            say(f"the driver ended with {code}; the same command again")
            deaths["again"] += 1
            driver = Driver(address, "disturbed", arguments.shard_images)
        if driver_deaths and done() >= driver_deaths[0]:
            driver_deaths.pop(0)
            driver.process.send_signal(signal.SIGKILL)
            driver.process.wait()
            deaths["driver"] += 1
            say(f"kill -9 of the driver, {done()} of {shards} parts are there")
            driver = Driver(address, "disturbed", arguments.shard_images)
        if time.monotonic() >= next_death and (workers := driver.workers()):
            os.kill(chance.choice(workers), signal.SIGKILL)
            deaths["worker"] += 1
            next_death = time.monotonic() + 20
            say(f"kill -9 of a worker, {done()} of {shards} parts are there")
        time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--shard-images", type=int, default=100)
    parser.add_argument("--share", type=float, default=0.1)
    arguments = parser.parse_args()
    import logging

    import pyarrow.parquet as pq
    from tests.helpers.stores import Faults, store

    logging.disable()
    faults = Faults(0.0)
    with store(faults) as address:
        fill(arguments.images)
        say(f"{arguments.images} pictures, shards of {arguments.shard_images}")
        calm = Driver(faults.direct, "calm", arguments.shard_images)
        code = calm.process.wait()
        wanted = objects(faults.direct, "calm")
        say(f"undisturbed, past the proxy: exit {code}, files {', '.join(sorted(wanted))}")
        faults.asked.clear()
        faults.share = arguments.share

        def parts() -> int:
            from moto.s3.models import s3_backends

            keys = s3_backends["123456789012"]["aws"].buckets["target"].keys
            return sum("disturbed/_ferkit/parts/" in key and key.endswith(".parquet") for key in list(keys))

        deaths, seconds = disturbed(address, arguments, parts)
        found = objects(faults.direct, "disturbed")
        say(f"disturbed: {seconds:.0f} s, deaths {dict(deaths)}, faults {dict(faults.done)} of {sum(faults.asked.values())} requests")
    rows = [row for name in found if name.endswith(".parquet") for row in pq.read_table(io.BytesIO(found[name])).to_pylist()]
    times = Counter(row["image"] for row in rows if row["face"] in (None, 0))
    said = {
        "pictures": len(times),
        "of them once": sum(count == 1 for count in times.values()),
        "error rows": sum(row["error_kind"] is not None for row in rows),
        "same files": sorted(found) == sorted(wanted),
        "same bytes": found == wanted,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(found.items())},
    }
    print(json.dumps(said, indent=1))
    sys.exit(0 if said["same bytes"] and len(times) == said["of them once"] == arguments.images else 1)


if __name__ == "__main__":
    main()
