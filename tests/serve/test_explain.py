"""Explanations in the service: maps of evidence that are the library's, on the face and where it lies in the picture, and their limits."""

from __future__ import annotations

import base64
import io
import threading

import numpy as np
import pytest
from PIL import Image

for module in ("fastapi", "uvicorn", "prometheus_client", "python_multipart", "websockets", "httpx"):
    pytest.importorskip(module, reason="needs ferkit[serve] and httpx")


from ferkit import Pipeline  # noqa: E402
from ferkit.explain import explain  # noqa: E402
from ferkit.serve.engine import Engine  # noqa: E402
from tests.helpers.serving import WEIGHTS, encoded, noise, running  # noqa: E402
from tests.helpers.waiting import until  # noqa: E402

pytestmark = pytest.mark.skipif(not WEIGHTS.exists(), reason="needs the bundled weights")


def test_the_service_explains_as_the_library_does(astronaut: np.ndarray) -> None:
    with running(max_side=256) as client:
        large = Image.fromarray(astronaut)
        answer = client.post("/v1/explain?labels=fer2013", content=encoded(large, "PNG"))
        plain = client.post("/v1/predict?labels=fer2013", content=encoded(large, "PNG")).json()["images"][0]
    assert answer.status_code == 200
    body = answer.json()
    face = body["faces"][0]
    evidence = face.pop("evidence")
    assert (body["width"], body["height"], face) == (*large.size, plain["faces"][0])
    small = large.resize((256, 256), Image.Resampling.BILINEAR)
    found = explain(Pipeline(), small, most=1)[0]
    crop = np.asarray(Image.open(io.BytesIO(base64.b64decode(evidence["crop"]))))
    assert np.abs(crop.astype(int) - found.crop).mean() < 3
    assert list(evidence["maps"]) == list(face["probabilities"])
    heat = np.array(evidence["maps"]["happy"])
    assert heat.shape == (24, 24)
    own = found.map("happy").reshape(24, 2, 24, 2).mean(axis=(1, 3))
    assert np.corrcoef(heat.ravel(), own.ravel())[0, 1] > 0.8
    corners = np.array(evidence["corners"])
    x1, y1, x2, y2 = face["box"]
    assert (corners.min(axis=0) < [(x1 + x2) / 2, (y1 + y2) / 2]).all()
    assert (corners.max(axis=0) > [(x1 + x2) / 2, (y1 + y2) / 2]).all()
    assert np.linalg.norm(corners[1] - corners[0]) > 0.7 * (x2 - x1), "corners are in pixels of the picture as it came"


def test_only_the_largest_faces_are_explained_and_no_face_is_no_error(astronaut: np.ndarray) -> None:
    one = Image.fromarray(astronaut).crop((120, 0, 320, 200))
    group = Image.new("RGB", (660, 220), "gray")
    for n in range(3):
        group.paste(one, (220 * n + 10, 10))
    with running(max_explained=2) as client:
        assert client.get("/v1/weights").json()["limits"]["max_explained"] == 2
        assert len(client.post("/v1/explain", content=encoded(group)).json()["faces"]) == 2
        nobody = client.post("/v1/explain", content=noise())
        assert (nobody.status_code, nobody.json()["faces"]) == (200, [])


def test_what_is_refused() -> None:
    with running(detector="none") as client:
        for status, code, wanted in (
            (400, "empty", {"content": b""}),
            (415, "unsupported_type", {"content": b"<svg/>"}),
            (422, "one_picture", {"files": [("image", ("a.png", noise()))] * 2}),
            (422, "unknown_parameter", {"content": noise(), "params": {"label": "happy"}}),
            (422, "unknown_labels", {"content": noise(), "params": {"labels": "moods"}}),
        ):
            answer = client.post("/v1/explain", **wanted)
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    with running(detector="none", max_explained=0) as client:
        answer = client.post("/v1/explain", content=noise())
        assert (answer.status_code, answer.json()["error"]["code"]) == (501, "no_explanations")
    with running(detector="none", api_key="correct horse") as client:
        assert client.post("/v1/explain", content=noise()).status_code == 401


def test_few_explanations_may_wait_while_pictures_still_may(monkeypatch: pytest.MonkeyPatch) -> None:
    held, release = threading.Event(), threading.Event()
    slow = Engine._work
    monkeypatch.setattr(Engine, "_work", lambda self, *a: (held.set(), release.wait(60), slow(self, *a))[2])
    with running(detector="none", lanes=1, queue_seconds=60, batch=1) as client:
        statuses: list[int] = []

        def ask(path: str) -> threading.Thread:
            thread = threading.Thread(target=lambda: statuses.append(client.post(path, content=noise()).status_code))
            thread.start()
            return thread

        threads = [ask("/v1/predict")]
        until(held.is_set, "the lane holds the first picture")
        threads += [ask("/v1/explain") for _ in range(4)]
        until(lambda: len(client.app.state.engine._waiting) == 4, "four wait")  # type: ignore[attr-defined]
        refused = client.post("/v1/explain", content=noise())
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
        assert "retry-after" in refused.headers
        threads.append(ask("/v1/predict"))
        until(lambda: len(client.app.state.engine._waiting) == 5, "a picture may still wait")  # type: ignore[attr-defined]
        release.set()
        for thread in threads:
            thread.join()
        assert statuses == [200] * 6
