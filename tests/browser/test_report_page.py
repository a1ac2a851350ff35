"""The report's page as a reader has it: on a screen, on a phone, in the dark, on paper and by keyboard."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pypdf
import pytest

PAGES = ("finished", "unfinished", "failed")
Visit = Callable[..., Any]

pytestmark = pytest.mark.slow

# Colours as the browser computed them; the background is that of the nearest ancestors, one over the other.
CONTRAST = """() => {
  const parse = text => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n };
  const over = (top, under) => top.slice(0, 3).map((c, i) => c * top[3] + under[i] * (1 - top[3]));
  const light = rgb => rgb.map(c => c / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const behind = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; node = walker.nextNode();) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility({ opacityProperty: true })) continue;
    const style = getComputedStyle(element), drawn = element instanceof SVGElement;
    const under = behind(drawn ? element.closest("figure") : element);
    const [a, b] = [light(over(parse(drawn ? style.fill : style.color), under)), light(under)];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    found.push([node.data.trim().slice(0, 60), ratio, large ? 3 : 4.5]);
  }
  return found;
}"""

TOO_WIDE = """() => [...document.querySelectorAll("main *")]
  .filter(e => e.checkVisibility() && !e.closest("svg, thead, figure details div, pre code"))
  .map(e => [e.tagName + " " + e.textContent.trim().slice(0, 60), e.getBoundingClientRect()])
  .filter(([, box]) => box.width && (box.right > innerWidth + .5 || box.left < -.5))
  .map(([name, box]) => `${name}: ${box.left} to ${box.right}`)"""


@pytest.mark.parametrize("name", PAGES)
def test_the_page_asks_for_nothing_and_the_browser_has_no_complaint(name: str, visit: Visit) -> None:
    opened = visit(name)
    opened.page.wait_for_timeout(200)
    assert opened.requests == [opened.page.url]
    assert opened.complaints == []


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [320, 360, 1280])
def test_nothing_is_wider_than_the_screen(name: str, width: int, visit: Visit) -> None:
    page = visit(name, width=width).page
    page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(TOO_WIDE) == []


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_from_what_is_behind_it(name: str, scheme: str, visit: Visit) -> None:
    page = visit(name, scheme=scheme).page
    page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    found = page.evaluate(CONTRAST)
    assert len(found) > 300
    assert [entry for entry in found if entry[1] < entry[2]] == []


def test_the_dark_page_is_dark_and_the_light_one_light(visit: Visit) -> None:
    papers = [
        visit("finished", scheme=scheme).page.evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    ]
    light, dark = (sum(map(int, paper[4:-1].split(","))) for paper in papers)
    assert light > 600
    assert dark < 150


def test_on_paper_the_summary_is_the_first_page_and_all_of_it(pages: dict[str, Path], visit: Visit) -> None:
    for name in pages:
        page = visit(name).page
        sheets = pypdf.PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True))).pages
        first, second, *others = (_letters(sheet.extract_text()) for sheet in sheets)
        wanted = page.eval_on_selector_all(
            ".lead h1, .lead h2, .lead li, .lead p", "all => all.map(e => e.textContent)"
        )
        assert len(wanted) > 8
        missing = [words for words in wanted if _letters(words) not in first]
        assert missing == [], f"{name}: not on the first page"
        assert "Configurationdigest" not in first
        assert "1Identity" in second
        assert any("fedprivverify" in text for text in others)


@pytest.mark.parametrize("name", PAGES)
def test_every_drawing_says_in_words_what_it_shows(name: str, visit: Visit) -> None:
    page = visit(name).page
    drawings = page.eval_on_selector_all(
        "svg", "all => all.map(e => [e.getAttribute('role'), e.getAttribute('aria-label')])"
    )
    assert len(drawings) == {"finished": 11, "unfinished": 7, "failed": 7}[name]
    assert [role for role, _ in drawings] == ["img"] * len(drawings)
    assert min(len(words.strip()) for _, words in drawings) > 40
    captions = page.eval_on_selector_all(
        "figure", "all => all.map(e => e.querySelector('figcaption').innerText)"
    )
    assert min(map(len, captions)) > 40
    assert (
        page.eval_on_selector_all("figure details table", "all => all.map(e => e.rows.length)").count(1) == 0
    )


@pytest.mark.parametrize("name", PAGES)
def test_headings_go_down_one_step_at_a_time_and_links_lead_somewhere(name: str, visit: Visit) -> None:
    page = visit(name).page
    levels = page.eval_on_selector_all("h1, h2, h3, h4", "all => all.map(e => Number(e.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    targets = page.eval_on_selector_all("a", "all => all.map(e => e.getAttribute('href'))")
    assert len(targets) > 15
    assert {t for t in targets if not t.startswith("#") or page.locator(t).count() != 1} == set()


def test_the_keyboard_reaches_every_link_and_opens_every_detail(visit: Visit) -> None:
    page = visit("finished").page
    wanted = page.evaluate(
        "() => { const all = [...document.querySelectorAll('a, summary')];"
        " all.forEach((e, i) => e.dataset.place = i); return all.length; }"
    )
    reached: list[int] = []
    for _ in range(3 * wanted):
        page.keyboard.press("Tab")
        place, is_summary, outline = page.evaluate(
            "() => { const e = document.activeElement;"
            " return [e.dataset.place, e.tagName === 'SUMMARY', getComputedStyle(e).outlineStyle]; }"
        )
        if place is None:
            continue
        if int(place) in reached:
            break
        reached.append(int(place))
        assert outline != "none"
        if is_summary:
            page.keyboard.press("Enter")
    assert reached == list(range(wanted))
    assert page.eval_on_selector_all("details", "all => all.filter(e => !e.open).length") == 0


def _letters(text: str) -> str:
    """``text`` without blanks and signs, ligatures taken apart: what is the same on screen and on paper."""
    return "".join(letter for letter in unicodedata.normalize("NFKC", text) if letter.isalnum())
