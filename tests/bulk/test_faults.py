"""A store that refuses, breaks off, dawdles and loses what is put: the rows are those of a store that does not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ..helpers.jobs import QUICK, Driver

pytest.importorskip("moto.server", reason='needs moto: pip install "moto[server]"')

from ..helpers.stores import Faults, bucket, store

HOW = ("--pipeline", QUICK, "--shard-images", "30", "--workers", "2")
Start = Callable[..., Driver]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def faults() -> Faults:
    return Faults(0.0)


@pytest.fixture
def filled(faults: Faults, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A store whose bucket has the pictures, behind a proxy that does nothing yet."""
    with store(faults) as address:
        client = bucket(address, "source")
        client.create_bucket(Bucket="target")
        for path in sorted(pictures.rglob("*.jpg")):
            client.put_object(Bucket="source", Key=f"p/{path.name}", Body=path.read_bytes())
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
        yield address


def objects(address: str, prefix: str) -> dict[str, bytes]:
    import boto3

    client = boto3.client("s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    found = {}
    for one in client.list_objects_v2(Bucket="target", Prefix=f"{prefix}/").get("Contents", []):
        with suppress(client.exceptions.NoSuchKey):  # deleted since it was listed: parts, once their file is there
            found[one["Key"].removeprefix(f"{prefix}/")] = client.get_object(Bucket="target", Key=one["Key"])["Body"].read()
    return found


@contextmanager
def watched(address: str) -> Iterator[list[str]]:
    """Read every Parquet file that is there, again and again; yield the names of those that are not whole."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    broken: list[str] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            for name, data in objects(address, "wild").items():
                try:
                    if name.endswith(".parquet"):
                        pq.read_table(io.BytesIO(data))
                except pa.ArrowInvalid:
                    broken.append(name)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield broken
    finally:
        over.set()
        watcher.join()


@pytest.mark.slow
def test_faults_of_the_store_change_nothing(filled: str, faults: Faults, drivers: Start) -> None:
    """One request in ten fails, of reading, listing and writing alike; never is half a part there to be seen."""
    code, _, err = drivers("s3://source/p", "s3://target/calm", *HOW).end()
    assert code == 0, err
    calm = {name: data for name, data in objects(faults.direct, "calm").items() if not name.startswith("_ferkit/")}
    least = sum(faults.asked.values()) - 482  # what the fixture asked for: two buckets, 240 pictures, each once
    faults.asked.clear()
    faults.share = 0.1
    with watched(faults.direct) as broken:
        for attempt in range(5):
            code, _, err = drivers("s3://source/p", "s3://target/wild", *HOW).end()
            if code == 0:
                break
            assert code in (1, 2), err  # it says so, and the same command goes on
            assert attempt < 4, err
    assert not broken
    faults.share = 0.0
    assert sum(faults.done.values()) > 20
    assert len(faults.done) == 3
    wild = {name: data for name, data in objects(faults.direct, "wild").items() if not name.startswith("_ferkit/")}
    assert wild == calm
    assert sum(faults.asked.values()) <= 3 * max(least, 240)
    left = [name for name in objects(faults.direct, "wild") if not name.endswith("/")]  # pyarrow leaves empty marks for folders
    assert not [name for name in left if "/parts/" in name or "/lock" in name]
