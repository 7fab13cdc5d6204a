"""Pictures of the page for the documentation: docs/page.png and docs/page-transport.png.

    python tools/screenshots.py --reader runs/qa/student-da/seed-1/model --judge runs/nli/student-kdda/seed-1/model

Needs chromium (Debian's package) and `pip install "kdda[serve]" playwright`; starts a server on loopback.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

DOCS = Path(__file__).parents[1] / "docs"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reader", required=True)
    parser.add_argument("--judge", required=True)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    command = [sys.executable, "-m", "kdda", "serve", options.reader, options.judge, "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = re.search(r"http://\S+", server.stdout.readline())
        if not url:
            sys.exit("the server did not start")
        take(url[0], options.chromium)
    finally:
        server.terminate()
        server.wait(60)


def take(url: str, chromium: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_context(locale="vi-VN", viewport={"width": 900, "height": 860}).new_page()
        page.goto(url)
        page.click("#qa-button")
        page.wait_for_selector("#qa-result mark")
        page.locator("#qa-result li").first.hover()
        page.screenshot(path=DOCS / "page.png", full_page=True)
        page.get_by_role("tab", name="Vận chuyển").click()
        page.click("#draw-button")
        page.wait_for_selector("#plan svg", timeout=180_000)
        page.screenshot(path=DOCS / "page-transport.png", full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
