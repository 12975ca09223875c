"""The service's answers, limits and settings, in process where that is enough."""

from __future__ import annotations

import ast
import asyncio
import gc
import io
import itertools
import json
import logging
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

for module in ("fastapi", "uvicorn", "prometheus_client", "python_multipart", "websockets", "httpx"):
    pytest.importorskip(module, reason="needs ferkit[serve] and httpx")

import anyio  # noqa: E402
import httpx  # noqa: E402
from fastapi.testclient import TestClient  # noqa: E402
from starlette.websockets import WebSocketDisconnect  # noqa: E402

from ferkit import Ensemble, Face, FaceDetector, InputError, Pipeline  # noqa: E402
from ferkit.engines.onnxruntime import OnnxRuntimeEngine  # noqa: E402
from ferkit.serve import app as app_module  # noqa: E402
from ferkit.serve.admission import StreamPlaces  # noqa: E402
from ferkit.serve.catalogue import Catalogue  # noqa: E402
from ferkit.serve.engine import Engine  # noqa: E402
from ferkit.serve.logs import JsonFormatter  # noqa: E402
from ferkit.serve.metrics import Metrics  # noqa: E402
from ferkit.serve.settings import Settings, default_batch, default_lanes  # noqa: E402
from ferkit.serve.static_export import _alone  # noqa: E402
from ferkit.serve.stream import Stream  # noqa: E402
from ferkit.weights.releases import DEFAULT_WEIGHTS  # noqa: E402
from ferkit.weights.store import resolve  # noqa: E402
from tests.helpers.serving import WEIGHTS, Service, encoded, noise, photo, portrait, running  # noqa: E402
from tests.helpers.waiting import until  # noqa: E402

pytestmark = pytest.mark.skipif(not WEIGHTS.exists(), reason="needs the bundled weights")

KEY = "correct horse battery"


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with running() as started:
        yield started


@pytest.fixture(scope="module")
def whole() -> Iterator[TestClient]:
    """Every picture is a face: answers without needing photos."""
    with running(detector="none", batch=4, max_pixels=1_000_000, max_images=4, max_bytes=1_000_000) as started:
        yield started


def code(response: Any) -> str:
    body = response.json()
    assert body["schema"] == 1
    return str(body["error"]["code"])


# -------------------------------------------------------------------------------------------------- answers


@pytest.mark.shared
def test_predict_says_what_the_pipeline_says(client: TestClient) -> None:
    data = photo("Angelina_Jolie_0005.jpg").read_bytes()
    raw = client.post("/v1/predict", content=data).json()
    expected = Pipeline()(data).to_dict()
    assert raw["schema"] == 1
    assert raw["weights"] == expected["weights"]
    assert raw["images"][0]["faces"] == json.loads(json.dumps(expected["faces"]))
    form = client.post("/v1/predict", files={"image": ("x.jpg", data)}).json()
    assert form["images"][0]["faces"] == raw["images"][0]["faces"]
    assert (raw["images"][0]["image"], form["images"][0]["image"]) == (None, "x.jpg")


@pytest.mark.shared
def test_draw_answers_a_png(client: TestClient) -> None:
    response = client.post("/v1/predict?draw=1", content=encoded(portrait()))
    assert response.headers["content-type"] == "image/png"
    picture = Image.open(io.BytesIO(response.content))
    assert picture.size == (640, 480)
    assert np.abs(np.asarray(picture, int) - np.asarray(portrait(), int)).max() > 100


def test_many_pictures_come_back_in_order_and_a_bad_one_stays_alone(whole: TestClient) -> None:
    pictures = [noise(40 + i, 30, seed=i) for i in range(3)]
    files = [("image", (f"{i}.png", data)) for i, data in enumerate(pictures)]
    files.insert(1, ("image", ("bad.png", pictures[0][:60])))
    images = whole.post("/v1/predict", files=files).json()["images"]
    assert [image["image"] for image in images] == ["0.png", "bad.png", "1.png", "2.png"]
    assert [image["width"] for image in images] == [40, None, 41, 42]
    assert images[1]["error"]["code"] == "damaged"
    assert [len(image["faces"]) for image in images] == [1, 0, 1, 1]


def test_batching_changes_no_answer(whole: TestClient) -> None:
    pictures = [noise(48, 48, seed=i) for i in range(12)]
    alone = [whole.post("/v1/predict", content=data).json()["images"][0]["faces"][0]["probabilities"] for data in pictures]
    found: dict[int, Any] = {}

    def ask(i: int) -> None:
        found[i] = whole.post("/v1/predict", content=pictures[i]).json()["images"][0]["faces"][0]["probabilities"]

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(12):
        assert found[i] == pytest.approx(alone[i], abs=1e-4)


def test_weights_and_labels_are_chosen_by_name(whole: TestClient) -> None:
    offer = whole.get("/v1/weights").json()
    (weights,) = offer["weights"]
    assert weights["default"]
    names = [labels["name"] for labels in weights["labels"]]
    assert {"fer2013", "ferplus", "fer6"} <= set(names)
    for labels in weights["labels"]:
        answer = whole.post(f"/v1/predict?labels={labels['name']}", content=noise()).json()
        assert answer["labels"] == labels["name"]
        assert list(answer["images"][0]["faces"][0]["probabilities"]) == [c["name"] for c in labels["classes"]]
        assert all(c["emoji"] and c["colour"].startswith("#") for c in labels["classes"])
    assert code(whole.post("/v1/predict?weights=../../etc/passwd", content=noise())) == "unknown_weights"
    assert code(whole.post("/v1/predict?labels=moods", content=noise())) == "unknown_labels"


def test_turned_faces_are_unsure_unless_they_are_asked_for(astronaut: np.ndarray) -> None:
    picture = encoded(Image.fromarray(astronaut[280::-1, 380:80:-1]))
    answers = []
    for rotations in ((), (0, 180)):
        with running(rotations=rotations) as served:
            faces = served.post("/v1/predict", content=picture).json()["images"][0]["faces"]
            answers.append(max(faces, key=lambda face: face["score"]))
    unsure, read = answers
    assert (unsure["label"], unsure["turn"], read["turn"]) == (None, 180, 180)
    assert "rotations=(0, 180)" in unsure["reason"]
    assert read["label"] is not None
    assert "reason" not in read


def test_two_weights_of_one_name_are_refused(tmp_path: Path) -> None:
    """A request could not tell them apart."""
    copy = tmp_path / "copy"
    shutil.copytree(resolve("fer2013-n-v6"), copy)
    with pytest.raises(InputError, match="Weights 'fer2013-n-v6' are given twice") as raised:
        Catalogue(Settings(weights=("fer2013-s-v6", "fer2013-n-v6", str(copy))))
    assert raised.value.arguments == ("weights",)
    assert list(Catalogue(Settings(weights=("fer2013-s-v6", str(copy)))).offers) == ["fer2013-s-v6", "fer2013-n-v6"]


def test_a_face_gets_the_number_of_the_track_that_it_covers_best() -> None:
    from ferkit.serve.people import _give

    def numbers(faces: list[Face], *tracks: tuple[float, int]) -> list[int | None]:
        for x, number in tracks:
            _give(faces, Face((x, 0, x + 100, 100)), number)
        return [face.track_id for face in faces]

    def near(*places: float) -> list[Face]:
        return [Face((x, 0, x + 100, 100)) for x in places]

    assert numbers(near(30, 10), (0, 5)) == [None, 5], "two faces near one track"
    assert numbers(near(30, 10), (0, 5), (20, 6)) == [6, 5], "and the other one's is free for the next"
    assert numbers(near(10), (0, 5), (12, 6)) == [5], "a face has one number"
    assert numbers(near(60), (0, 5)) == [None], "too far away"
    assert numbers([], (0, 5)) == []


def test_an_ensemble_is_served(tmp_path: Path) -> None:
    names = [DEFAULT_WEIGHTS, "fer2013-n-v6"]
    both = Ensemble.from_pretrained(names)
    folder = both.save(tmp_path / "both", others=[Ensemble.from_pretrained(names, labels="ferplus")])
    with running(detector="none", weights=(str(folder), DEFAULT_WEIGHTS)) as served:
        offer = {weights["name"]: weights for weights in served.get("/v1/weights").json()["weights"]}
        assert [labels["name"] for labels in offer["both"]["labels"]] == ["photos", "ferplus", "fer6"]
        for labels in ("photos", "ferplus", "fer6"):
            [face] = served.post(f"/v1/predict?labels={labels}", content=noise()).json()["images"][0]["faces"]
            assert face["disagreement"] > 0
        [face] = served.post("/v1/predict", content=noise()).json()["images"][0]["faces"]
        expected = Pipeline(FaceDetector("none"), both)(noise()).faces[0].expression
        assert expected is not None
        assert face["probabilities"] == pytest.approx(dict(expected.probabilities), abs=1e-4)
        [alone] = served.post(f"/v1/predict?weights={DEFAULT_WEIGHTS}", content=noise()).json()["images"][0]["faces"]
        assert "disagreement" not in alone
        assert "disagreement" in served.get("/openapi.json").json()["components"]["schemas"]["FaceOut"]["properties"]


@pytest.mark.parametrize(
    ("status", "wanted", "kwargs"),
    [
        (400, "empty", {"content": b""}),
        (415, "unsupported_type", {"content": b"<svg/>", "headers": {"Content-Type": "image/png"}}),
        (400, "damaged", {"content": b"\x89PNG\r\n\x1a\n" + b"\0" * 50}),
        (413, "too_many_pixels", {"content": noise(2000, 600, "JPEG")}),
        (413, "too_large", {"content": b"\xff\xd8\xff" + b"\0" * 1_000_000}),
        (413, "too_many_images", {"files": [("image", ("a.png", noise()))] * 5}),
        (400, "bad_multipart", {"data": {"image": "text"}, "files": {}, "headers": {"Content-Type": "multipart/form-data; boundary=b"}}),
        (400, "bad_multipart", {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}),
        (422, "invalid", {"content": noise(), "params": {"draw": "perhaps"}}),
        (422, "one_picture", {"files": [("image", ("a.png", noise()))] * 2, "params": {"draw": "1"}}),
    ],
)
def test_refusals_have_a_status_and_a_code(whole: TestClient, status: int, wanted: str, kwargs: dict[str, Any]) -> None:
    response = whole.post("/v1/predict", **kwargs)
    assert (response.status_code, code(response)) == (status, wanted)


def test_a_file_name_is_echoed_without_folders(whole: TestClient) -> None:
    for given, plain in (("../../etc/cron.d/x.png", "x.png"), ("C:\\photos\\y.png", "y.png"), ("n" * 900 + ".png", "n" * 200)):
        assert whole.post("/v1/predict", files={"image": (given, noise())}).json()["images"][0]["image"] == plain


# -------------------------------------------------------------------------------------------------- limits and security


def test_a_full_queue_answers_503_with_retry_after(monkeypatch: pytest.MonkeyPatch) -> None:
    held, release = threading.Event(), threading.Event()
    slow = Engine._work
    monkeypatch.setattr(Engine, "_work", lambda self, *a: (held.set(), release.wait(60), slow(self, *a))[2])
    with running(detector="none", queue=2, max_images=2, lanes=1, queue_seconds=60) as client:
        statuses: list[int] = []
        threads = [
            threading.Thread(target=lambda: statuses.append(client.post("/v1/predict", content=noise()).status_code)) for _ in range(3)
        ]
        try:
            threads[0].start()
            until(held.is_set, "the lane holds the first picture")  # or the third would find the first still in the queue
            for thread in threads[1:]:
                thread.start()
            engine = client.app.state.engine
            until(lambda: len(engine._waiting) == 2, "two more wait")
            for seconds, later in ((0.1, 1), (7.2, 15)):  # that a picture takes; the two that wait will have been worked off
                engine._seconds = seconds
                refused = client.post("/v1/predict", content=noise())
                assert (refused.status_code, code(refused)) == (503, "busy")
                assert int(refused.headers["retry-after"]) == engine.retry_after() == later
        finally:
            release.set()  # or a lane would wait for it
        for thread in threads:
            thread.join()
        assert statuses == [200, 200, 200]
        assert client.post("/v1/predict", content=noise()).status_code == 200


def test_what_waits_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from ferkit.serve import engine

    # Ten seconds from one look to the next: Windows' own clock may stand still between the two.
    looks = itertools.count(0.0, 10.0)
    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=lambda: next(looks), perf_counter=time.perf_counter))
    with running(detector="none", queue_seconds=5, lanes=1) as client:
        response = client.post("/v1/predict", content=noise())
        assert (response.status_code, code(response)) == (503, "busy")


def test_a_fault_of_ours_is_500_and_the_next_request_works(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with running(detector="none") as client:
        with monkeypatch.context() as patch:
            patch.setattr(Pipeline, "stream", lambda *a, **k: 1 / 0)
            response = client.post("/v1/predict", content=noise())
        assert (response.status_code, code(response)) == (500, "internal")
        assert "ZeroDivisionError" in caplog.text
        assert "ZeroDivision" not in response.text
        assert client.post("/v1/predict", content=noise()).status_code == 200


def test_an_error_of_ours_has_the_headers_and_the_id_of_every_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "_weights", lambda *_: 1 / 0)
    with running(detector="none") as client:
        for answer in (client.get("/v1/weights"), client.head("/v1/weights")):
            assert answer.status_code == 500
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
        assert client.head("/v1/weights").content == b""
        answer = client.get("/v1/weights")
        assert (code(answer), answer.json()["request_id"]) == ("internal", answer.headers["x-request-id"])
        assert 'route="/v1/weights",status="500"' in client.get("/metrics").text


def test_the_key_guards_everything_but_the_page_and_the_probes() -> None:
    with running(detector="none", api_key=KEY) as client:
        for path in ("/", "/healthz", "/readyz", "/static/app.js"):
            assert client.get(path).status_code == 200
        for path in ("/v1/weights", "/metrics"):
            refused = client.get(path)
            assert (refused.status_code, code(refused)) == (401, "unauthorized")
            assert refused.headers["www-authenticate"] == "Bearer"
            assert client.get(path, headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
            assert client.get(path, headers={"X-API-Key": KEY}).status_code == 200
            assert client.get(path, headers={"X-API-Key": KEY[:-1]}).status_code == 401
            assert client.get(path, headers={"X-API-Key": "\u00e9".encode()}).status_code == 401
        assert client.post("/v1/predict", content=noise()).status_code == 401
        with client.websocket_connect("/v1/stream") as socket:
            socket.send_text(json.dumps({"key": KEY}))
            socket.send_bytes(noise())
            assert len(socket.receive_json()["faces"]) == 1
        for first in (json.dumps({"key": "wrong"}), "{}", "{"):
            with client.websocket_connect("/v1/stream") as socket:
                socket.send_text(first)
                with pytest.raises(WebSocketDisconnect) as closed:
                    socket.receive_json()
                assert closed.value.code == 1008
        with client.websocket_connect("/v1/stream") as socket:
            socket.send_bytes(noise())
            with pytest.raises(WebSocketDisconnect) as closed:
                socket.receive_json()
            assert closed.value.code == 1008


class _Leaving:
    """A socket whose other side is gone."""

    headers: ClassVar[dict[str, str]] = {}
    default = None  # the catalogue's choice
    scope: ClassVar[dict[str, Any]] = {}

    async def accept(self) -> None:
        await asyncio.sleep(0)

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"type": "websocket.disconnect", "code": 1000}


@pytest.mark.parametrize("turns", range(12))
def test_a_stream_that_ends_lets_a_cancel_scope_have_its_cancellation(turns: int) -> None:
    """The server, or the test client, may cancel a stream at any turn of the loop while it ends by itself."""
    lost: list[dict[str, Any]] = []

    async def cancelled_after(turns: int) -> bool:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context))
        with anyio.CancelScope() as scope:

            async def cancel() -> None:
                for _ in range(turns):
                    await asyncio.sleep(0)
                scope.cancel()

            cancelling = asyncio.create_task(cancel())
            socket: Any = _Leaving()
            nothing: Any = None
            metrics = Metrics()
            await Stream(socket, Settings(), socket, nothing, metrics, StreamPlaces(1)).run()
            await cancelling
            await anyio.sleep_forever()
        return scope.cancelled_caught

    assert anyio.run(cancelled_after, turns)
    gc.collect()
    assert not lost


def test_a_proxy_may_publish_under_a_prefix(tmp_path: Path) -> None:
    with (
        Service(tmp_path, "--detector", "none", "--root-path", "/ferkit", FERKIT_API_KEY="") as service,
        httpx.Client(base_url=service.url) as http,
    ):
        for path in ("/", "/static/app.js", "/v1/weights"):  # as they come when the proxy has stripped the prefix
            assert http.get(path).status_code == 200, path
        assert http.get("/openapi.json").json()["servers"][0] == {"url": "/ferkit"}
        assert 'route="/v1/weights"' in http.get("/metrics").text


def test_cors_is_an_allow_list() -> None:
    ours, theirs = {"Origin": "https://ours.example"}, {"Origin": "https://theirs.example"}
    with running(detector="none", cors=("https://ours.example",)) as client:
        assert client.get("/v1/weights", headers=ours).headers["access-control-allow-origin"] == "https://ours.example"
        assert "access-control-allow-origin" not in client.get("/v1/weights", headers=theirs).headers
        with client.websocket_connect("/v1/stream", headers=ours) as socket:
            socket.send_bytes(noise())
            assert socket.receive_json()["frame"] == 0
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/stream", headers=theirs):
            pass


def test_every_answer_carries_the_security_headers(whole: TestClient) -> None:
    for path in ("/", "/docs", "/static/style.css", "/v1/weights", "/nothing", "/healthz"):
        headers = whole.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
        assert headers["referrer-policy"] == "no-referrer"


def test_the_page_needs_nothing_from_outside_and_nothing_inline(whole: TestClient) -> None:
    for path in ("/", "/docs"):
        html = whole.get(path).text
        assert "http://" not in html.replace("http://www.w3.org", "")
        assert "https://" not in html
        assert "style=" not in html
        assert " on" + "click=" not in html
        assert "<script>" not in html
    response = whole.get("/static/app.js")
    tag = response.headers["etag"]
    for same in (tag, f"W/{tag}", f'"other", W/{tag}', "*"):  # weak: as nginx makes it of what it compresses
        assert whole.get("/static/app.js", headers={"If-None-Match": same}).status_code == 304
    for other in ('"other"', tag.strip('"'), ""):
        assert whole.get("/static/app.js", headers={"If-None-Match": other}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/settings.py", "/static//etc/passwd", "/etc/passwd"]
)
def test_no_path_leads_to_a_file(whole: TestClient, path: str) -> None:
    response = whole.get(path)
    assert (response.status_code, code(response)) == (404, "not_found")


def test_metrics_count_and_logs_hold_no_image_data(whole: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ferkit.serve"):
        whole.post("/v1/predict?labels=ferplus", files={"image": ("secret-name.png", noise())})
    record = next(r for r in caplog.records if r.getMessage() == "request")
    line = json.loads(JsonFormatter().format(record))
    assert (line["route"], line["method"], line["status"], line["images"], line["faces"]) == ("/v1/predict", "POST", 200, 1, 1)
    assert "secret-name" not in json.dumps(line)
    text = whole.get("/metrics").text
    assert 'ferkit_requests_total{method="POST",route="/v1/predict",status="200"}' in text
    whole.request("BREW", "/some/made/up/path")
    assert 'method="OTHER",route="other"' in whole.get("/metrics").text


def test_a_slow_body_is_408_and_a_steady_one_arrives_however_long_it_takes() -> None:
    from ferkit.serve.problems import Problem
    from ferkit.serve.uploads import Arrival, Pace, read_body

    async def drip(chunk: bytes, count: int, pause: float) -> Any:
        for _ in range(count):
            yield chunk
            await asyncio.sleep(pause)

    def read(pace: Pace, *body: Any) -> bytes:
        async def whole() -> bytes:
            return await read_body(drip(*body), None, 1_000_000, Arrival(pace), lambda count: None)

        return asyncio.run(whole())

    assert len(read(Pace(gap=0.2, rate=100), b"x" * 100, 12, 0.05)) == 1200  # three times the gap, but never a pause nor too slow
    # Too slow; a pause; and much at once, which buys no long wait for the rest.
    for pace, body in ((Pace(0.2, 100), (b"x", 100, 0.05)), (Pace(0.2, 1), (b"x" * 100, 2, 0.5)), (Pace(0.2, 100), (b"x" * 9000, 2, 0.5))):
        with pytest.raises(Problem) as raised:
            read(pace, *body)
        assert (raised.value.status, raised.value.code) == (408, "too_slow")


# -------------------------------------------------------------------------------------------------- the stream


def test_a_stream_answers_frames_and_goes_on_after_bad_ones(whole: TestClient) -> None:
    with whole.websocket_connect("/v1/stream") as socket:
        socket.send_bytes(noise())
        first = socket.receive_json()
        assert (first["schema"], first["frame"], first["width"], len(first["faces"])) == (1, 0, 64, 1)
        socket.send_bytes(b"not a picture")
        assert socket.receive_json()["error"]["code"] == "unsupported_type"
        for text in ("{", "[]", '{"labels": 3}', "x" * 5000, "[" * 1900):
            socket.send_text(text)
            assert socket.receive_json()["error"]["code"] == "bad_message"
        socket.send_text('{"lables": "ferplus"}')
        misspelt = socket.receive_json()["error"]
        assert (misspelt["code"], "'lables'" in misspelt["message"]) == ("unknown_parameter", True)
        socket.send_text('{"labels": "moods"}')
        assert socket.receive_json()["error"]["code"] == "unknown_labels"
        socket.send_text('{"labels": "ferplus"}')
        socket.send_bytes(noise())
        last = socket.receive_json()
        assert last["frame"] == 2
        assert len(last["faces"][0]["probabilities"]) == 8


def test_a_stream_knows_people_again(astronaut: np.ndarray) -> None:
    """One face that wanders: no number at first sight, then the same one; a reconnected stream counts anew."""
    pytest.importorskip("scipy", reason="needs ferkit[video]")
    with running() as client:
        for _ in range(2):
            with client.websocket_connect("/v1/stream") as socket:
                numbers = []
                for step in range(4):
                    socket.send_bytes(encoded(Image.fromarray(astronaut[:300, 4 * step : 380 + 4 * step])))
                    faces = socket.receive_json()["faces"]
                    assert len(faces) == 1
                    numbers.append(faces[0]["track_id"])
                assert numbers[1:] == [1, 1, 1]
        answer = client.post("/v1/predict", content=encoded(Image.fromarray(astronaut)))
        assert "track_id" not in answer.json()["images"][0]["faces"][0]


def test_a_stream_skips_frames_and_keeps_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    held, arrived = threading.Event(), threading.Event()
    slow, offer = Engine._work, Stream._offer

    def offered(stream: Stream, data: bytes) -> None:
        offer(stream, data)
        if stream._count == 5:
            arrived.set()

    monkeypatch.setattr(Engine, "_work", lambda self, *a: (held.set(), arrived.wait(60), slow(self, *a))[2])
    monkeypatch.setattr(Stream, "_offer", offered)
    with running(detector="none", queue_seconds=60) as client, client.websocket_connect("/v1/stream") as socket:
        socket.send_bytes(noise())
        until(held.is_set, "the lane holds the first frame")
        for _ in range(4):
            socket.send_bytes(noise())
        assert [socket.receive_json()["frame"], socket.receive_json()["frame"]] == [0, 4]


def test_streams_are_counted() -> None:
    with running(detector="none", max_streams=1) as client:
        with client.websocket_connect("/v1/stream"):
            with client.websocket_connect("/v1/stream") as two, pytest.raises(WebSocketDisconnect) as closed:
                two.receive_json()
            assert closed.value.code == 1013
        with client.websocket_connect("/v1/stream") as three:
            three.send_bytes(noise())
            assert three.receive_json()["frame"] == 0


def test_a_stream_closes_when_idle() -> None:
    with running(detector="none", idle_seconds=0.2) as client, client.websocket_connect("/v1/stream") as socket:
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
        assert closed.value.code == 1001


# -------------------------------------------------------------------------------------------------- settings and layers


def test_settings_travel_through_the_environment() -> None:
    settings = Settings(labels="ferplus", rotations=(0, 180), cors=("https://a.example",), api_key=KEY)
    assert Settings.from_env(settings.to_env()) == settings
    assert Settings.from_env({}) == Settings()
    assert KEY not in repr(settings)


def test_what_the_lanes_compute_with_has_the_threads_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    opened = OnnxRuntimeEngine.__init__

    def remember(engine: OnnxRuntimeEngine, model: bytes, providers: Any = None, threads: int | None = None) -> None:
        given.append(threads)
        opened(engine, model, providers, threads)

    monkeypatch.setattr(OnnxRuntimeEngine, "__init__", remember)
    catalogue = Catalogue(Settings(runtime="onnxruntime", threads=1))
    catalogue.detector()
    catalogue.classifier(catalogue.choose(None, None))
    assert set(given) == {1}  # each lane's engines would start a thread for every CPU else, and lanes fight over them


@pytest.mark.parametrize(
    "wrong",
    [
        {"lanes": 0},
        {"queue": 4},
        {"cors": ("*",)},
        {"cors": ("https://a.example/",)},
        {"cors": ("HTTPS://a.example",)},
        {"cors": ("https://[bad",)},
        {"api_key": "short"},
        {"api_key": f"{KEY}\n"},
        {"api_key": f" {KEY}"},
        {"api_key": f"{KEY}\udce9"},
        {"api_key": f"{KEY}é"},
        {"root_path": "x/"},
        {"body_gap_seconds": 0},
        {"max_bytes": 10**12},
        {"rotations": (45,)},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Settings(**wrong)


def test_the_commands_defaults_are_those_of_the_settings() -> None:
    import click

    from ferkit.cli.serve import _MILLIONS, serve

    context, plain = click.Context(serve), Settings()
    given = {option.name: option.get_default(context) for option in serve.params}
    same = [name for name, value in given.items() if isinstance(value, int | float | str) and hasattr(plain, str(name))]
    assert {name: given[name] for name in same} == {name: getattr(plain, str(name)) for name in same}
    assert {setting: given[option] * 1e6 for setting, option in _MILLIONS.items()} == {name: getattr(plain, name) for name in _MILLIONS}
    assert len(same) > 15


def test_batching_is_on_only_where_it_was_measured_to_win() -> None:
    assert (default_batch(None), default_batch("haar"), default_batch("yunet"), default_batch("none")) == (1, 1, 1, 8)
    assert default_lanes(10**6) == 1


def test_only_the_command_imports_the_service() -> None:
    root = Path(__file__).resolve().parents[2] / "src" / "ferkit"
    for path in root.rglob("*.py"):
        if path.parent.name in ("serve", "cli"):  # cli/serve.py is the command
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in getattr(node, "names", [])]
            assert not any(name.split(".")[0] == "serve" for name in names if name), f"{path.name} imports serve at its top"
    found = subprocess.run(
        [sys.executable, "-c", "import sys, ferkit, ferkit.cli.main; print([m for m in ('fastapi', 'uvicorn', 'cv2') if m in sys.modules])"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.strip() == "[]"


def test_the_command_says_what_is_wrong() -> None:
    for options, words in (
        (["--cors", "*"], "CORS origin"),
        (["--queue", "4"], "(On the command line: --queue, --max-images.)"),
        (["--root-path", "x/"], "--root-path x/; expected a path"),
        (["--weights", "nothing-v1"], "No weights"),
        (["--labels", "moods"], "no labels"),
    ):
        done = subprocess.run([sys.executable, "-m", "ferkit", "serve", *options], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode in (1, 2)
        assert words in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr


def test_everybody_calls_the_same_answers_unsure(whole: TestClient) -> None:
    import click

    from ferkit.cli.video import video
    from ferkit.labels import UNSURE_BELOW

    (slider,) = re.findall(r'<input type="range" id="threshold"[^>]* value="(\d+)"', whole.get("/").text)
    (asked,) = [option for option in video.params if "--min-confidence" in option.opts]
    parameters = whole.get("/openapi.json").json()["paths"]["/v1/video"]["post"]["parameters"]
    (unsure,) = [one["schema"]["default"] for one in parameters if one["name"] == "unsure"]
    assert (int(slider) / 100, asked.get_default(click.Context(video)), unsure) == (UNSURE_BELOW,) * 3


def test_the_exported_page_says_that_it_is_alone(whole: TestClient) -> None:
    page = _alone(whole.get("/").text)
    assert page.startswith("<!doctype html>\n<html data-alone ")
    assert "wasm-unsafe-eval" in page
    assert "frame-ancestors" not in page, "only a header can say that"
    assert 'href="docs"' not in page
