"""How much memory a worker of the service takes under the worst pictures that it accepts, and under files made to hurt.

Starts `ferkit serve` on loopback with its default limits, sends each kind of picture several times from several clients at once, and reads
the process's peak from /proc (Linux). So it does with small files that claim, or unpack to, enormous pictures, and with a body of 100 MB; of
these it also says how long the slowest answer took. The result goes under "memory" of results/serve.json; with --bombs only what is
told of those files is measured anew:

    python benchmarks/serve_memory.py --into benchmarks/results/serve.json
    python benchmarks/serve_memory.py --bombs --into benchmarks/results/serve.json
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from _record import processor, versions
from PIL import Image

from ferkit.serve.settings import default_lanes

sys.path.append(str(Path(__file__).resolve().parents[1]))
from tests.helpers.bombs import bombs

PATIENT = ["--queue-seconds", "300"]

PHONES = ("JPEG, 48 MP, as a phone's", "HEIC, 48 MP, in tiles, as a phone's", "HEIC, 48 MP, in one piece", "PNG, 50 MP", "WebP, 40 MP")
VARIANTS = {  # beside the default, a lane for every CPU with OpenCV; for the pictures of PHONES
    "opencv, 1 lane": ["--lanes", "1"],
    "onnxruntime": ["--runtime", "onnxruntime"],
    "onnxruntime, 1 lane": ["--runtime", "onnxruntime", "--lanes", "1"],
}
GREY = (120, 130, 140)
WORST = {  # name: (format, size, mode, options); sizes are just below the service's 50 megapixels
    "JPEG, 48 MP, as a phone's": ("JPEG", (8064, 6048), "RGB", {}),
    "JPEG, 48 MP, progressive, 4:4:4": ("JPEG", (8064, 6048), "RGB", {"progressive": True, "subsampling": 0}),
    "PNG, 50 MP": ("PNG", (8333, 6000), "RGB", {}),
    "PNG with alpha, 50 MP": ("PNG", (8333, 6000), "RGBA", {}),
    "PNG with alpha, 50 MP, square": ("PNG", (7071, 7071), "RGBA", {}),
    "PNG, grey with alpha, 50 MP, square": ("PNG", (7071, 7071), "LA", {}),
    "JPEG, CMYK, 49 MP, progressive, 4:4:4": ("JPEG", (7000, 7000), "CMYK", {"progressive": True, "subsampling": 0}),
    "WebP, 40 MP": ("WEBP", (16383, 2441), "RGB", {}),
    "WebP, lossless with alpha, 40 MP": ("WEBP", (16383, 2441), "RGBA", {"lossless": True}),
    "AVIF, 25 MP": ("AVIF", (6000, 4166), "RGB", {}),
    "HEIC, 48 MP, in tiles, as a phone's": ("HEIF", (8064, 6048), "RGB", {"quality": 40}),
    "HEIC, 48 MP, in one piece": ("HEIF", (8064, 6048), "RGB", {"quality": 40, "tile": 0}),
    "GIF, 50 MP": ("GIF", (8333, 6000), "P", {}),
    "TIFF, compressed, 50 MP": ("TIFF", (8333, 6000), "RGB", {"compression": "tiff_lzw"}),
}


def encoded(kind: str, size: tuple[int, int], mode: str, options: dict[str, Any]) -> bytes:
    picture = Image.new("RGB", size, GREY).convert(mode)
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
        pillow_heif.options.GRID_TILE_SIZE = options.get("tile", 512)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **{name: value for name, value in options.items() if name != "tile"})
    return buffer.getvalue()


def post(url: str, data: bytes) -> tuple[int, float]:
    """Return the status and the seconds that it took. A service that has read enough answers and closes while the rest is sent: 0 where the answer
    was lost in that.
    """
    begun, address = time.monotonic(), urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=300)
    with contextlib.closing(connection):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", address.path, data)
        try:
            status = connection.getresponse().status
        except ConnectionError:
            status = 0
        return status, time.monotonic() - begun


def peak_mb(data: bytes, options: list[str], clients: int, rounds: int) -> tuple[float, list[int], float]:
    """Return a fresh worker's peak resident memory in MB after ``rounds`` pictures from each client, the statuses, and the slowest's seconds."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ferkit", "serve", "--port", str(port), *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as service:
        url = f"http://127.0.0.1:{port}"
        for _ in range(240):
            try:
                with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                    break
            except OSError:
                time.sleep(0.25)
        else:
            service.kill()
            raise SystemExit(f"ferkit serve {' '.join(options)} did not become ready")
        with ThreadPoolExecutor(clients) as pool:
            answers = list(pool.map(lambda _: post(f"{url}/v1/predict", data), range(clients * rounds)))
        status = Path(f"/proc/{service.pid}/status").read_text(encoding="ascii")
        service.send_signal(signal.SIGTERM)
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    return peak, sorted({code for code, _ in answers}), max(seconds for _, seconds in answers)


def hurtful(clients: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Return what files made to hurt cost."""
    rows: dict[str, dict[str, Any]] = {}
    for name, data in {"64 x 48": encoded("PNG", (64, 48), "RGB", {}), **bombs(), "body of 100 MB": b"\xff\xd8\xff" + bytes(10**8)}.items():
        peak, statuses, slowest = peak_mb(data, PATIENT, clients, rounds)
        rows[name] = {"bytes": len(data), "peak_mb": round(peak), "statuses": statuses, "slowest_s": round(slowest, 2)}
        print(name, rows[name], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--bombs", action="store_true", help="Measure the files made to hurt only; with --into the other rows stay")
    parser.add_argument("--into", type=Path, help="A results file whose entry 'memory' is replaced")
    args = parser.parse_args()
    os.environ["FERKIT_OFFLINE"] = "1"
    rows: dict[str, dict[str, Any]] = {}
    begun = time.monotonic()
    if args.bombs:
        found = hurtful(args.clients, args.rounds)
        if args.into:
            results = json.loads(args.into.read_text(encoding="utf-8"))
            results["memory"]["bombs"] = found
            args.into.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        return
    for name, (kind, size, mode, options) in {"64 x 48": ("PNG", (64, 48), "RGB", {}), **WORST}.items():
        data = encoded(kind, size, mode, options)
        peak, statuses, _ = peak_mb(data, PATIENT, args.clients, args.rounds)
        rows[name] = {"bytes": len(data), "peak_mb": round(peak), "statuses": statuses}
        for variant, more in VARIANTS.items() if name in PHONES else ():
            rows[name][variant] = round(peak_mb(data, [*PATIENT, *more], args.clients, args.rounds)[0])
        print(name, rows[name], flush=True)
    memory = {
        "command": "python benchmarks/serve_memory.py --into benchmarks/results/serve.json",
        "machine": {"processor": processor(), "versions": versions()},
        "clients": args.clients,
        "lanes": default_lanes(1),
        "seconds": round(time.monotonic() - begun),
        "pictures_of_each_kind": args.clients * args.rounds,
        "peak_mb_of_a_worker": max(int(row["peak_mb"]) for row in rows.values()),
        "kinds": rows,
        "bombs": hurtful(args.clients, args.rounds),
    }
    if args.into:
        results = json.loads(args.into.read_text(encoding="utf-8"))
        args.into.write_text(json.dumps({**results, "memory": memory}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
