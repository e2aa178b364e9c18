"""Draws docs/images/dashboard.png: devices that negotiated ask a real server for a minute.

PYTHONPATH=tests/models:tests/page python tests/page/dashboard_picture.py docs/images/dashboard.png
"""

from __future__ import annotations

import sys
import tempfile
import threading
from pathlib import Path

import httpx
import numpy as np
import page_browser
from digits_offers import digits_offers
from PIL import Image
from server_process import serving

from pysplitcodec.demo import load_digits
from pysplitcodec.errors import ServerError
from pysplitcodec.plan import DeviceProfile, Link
from pysplitcodec.serve import TailClient, negotiate, write_offers
from pysplitcodec.serve.tokens import add_token

SECONDS = 45
DIGITS = load_digits()
PROFILE = DeviceProfile("board", macs_per_s=1e7, ram_bytes=100_000, power_w=1.0)
# name, accuracy that it may lose, bits a second of its link, frames a second
DEVICES = (
    ("gate-cam", 0.05, 1e7, 40.0),
    ("hall-pi", 0.3, 1e4, 12.0),
    ("kitchen-pi", 0.05, 1e4, 25.0),
    ("yard-cam", 0.3, 1e7, 3.0),
)


def ask(
    url: str,
    token: str,
    cache: Path,
    over: threading.Event,
    device: tuple[str, float, float, float],
) -> None:
    """Frames of one device with their labels, at random times; one in 300 is damaged."""
    name, drop, bits_per_s, per_s = device
    rng = np.random.default_rng(len(name))
    with negotiate(
        url,
        "digits",
        cache / name,
        max_accuracy_drop=drop,
        device=PROFILE,
        link=Link("radio", bits_per_s=bits_per_s),
        inferences=1000,
        token=token,
    ) as agreed:
        head, codec = agreed.edge.head, agreed.edge.codec
    tails = httpx.get(f"{url}/v2", headers={"Authorization": f"Bearer {token}"}).json()["models"]
    for tail_name in tails:
        with TailClient(url, tail_name, token=token) as tail:
            if f"{codec.id:08x}" not in tail.metadata()["parameters"]["codec_ids"]:
                continue
            while not over.wait(rng.exponential(1 / per_s)):
                at = int(rng.integers(len(DIGITS.images)))
                frame = codec.encode(head(DIGITS.images[at])[0][0])
                try:
                    tail.infer(
                        frame if rng.random() > 1 / 300 else frame[:-3],
                        label=int(DIGITS.labels[at]),
                    )
                except ServerError as error:
                    assert error.status == 400, error


def main(path: Path) -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "parts").mkdir()
        write_offers(folder / "digits", "digits", digits_offers(DIGITS, folder / "parts"))
        tokens = {one[0]: add_token(folder / "tokens.toml", one[0]) for one in DEVICES}
        with (
            serving(folder, folder / "digits", "--tokens", folder / "tokens.toml") as served,
            page_browser.launched() as browser,
        ):
            over = threading.Event()
            threads = [
                threading.Thread(
                    target=ask, args=(served.url, tokens[one[0]], folder / "cache", over, one)
                )
                for one in DEVICES
            ]
            for thread in threads:
                thread.start()
            page = browser.new_page(viewport={"width": 1180, "height": 700})
            page.goto(f"{served.url}/dashboard")
            page.get_by_label("Token").fill(tokens["hall-pi"])
            page.keyboard.press("Enter")
            page.wait_for_timeout(1000 * SECONDS)
            page.screenshot(path=path, full_page=True)
            over.set()
            for thread in threads:
                thread.join()
    with Image.open(path) as picture:
        picture.quantize(256).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
