"""Pictures of a report's first page for the documentation: ``python docs/screenshots.py RUN_DIR``.

Writes report-summary-light.png, -dark.png and -phone.png beside this file, with the system's Chromium, in 96
colours: a page has few, and the files stay small.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).parent
SHOTS = (("light", "light", 1100), ("dark", "dark", 1100), ("phone", "light", 390))
COLOURS = 96
MARGIN = 16


def main(run_dir: Path) -> None:
    """Take the three pictures of the report in ``run_dir``."""
    page_file = run_dir.resolve() / "report.html"
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None or not page_file.is_file():
        sys.exit("this needs Chromium, and a folder with report.html: write it with `fedpriv report RUN_DIR`")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for name, scheme, width in SHOTS:
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.goto(page_file.as_uri())
            end = page.eval_on_selector(".lead", "lead => lead.getBoundingClientRect().bottom")
            area = {"x": 0, "y": 0, "width": width, "height": end + MARGIN}
            taken = Image.open(io.BytesIO(page.screenshot(full_page=True, clip=area))).convert("RGB")
            target = FOLDER / f"report-summary-{name}.png"
            taken.quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
