"""The page of `jmeta serve` in a browser: five classes are drawn, and a sixth drawing is named.

With $JMETA_PICTURES=FOLDER, pictures of the page are written there, of the run in $JMETA_RUN.
"""

import os
import shutil
import time
from pathlib import Path

import pytest
from quick import without_pictures
from serving import SMALL, served, trained

import jmeta

NEEDED = ("chromium", "chromedriver")
missing = [name for name in NEEDED if shutil.which(name) is None]
if missing and not os.environ.get("CI"):
    pytest.skip(f"needs {' and '.join(missing)}", allow_module_level=True)

from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

# strokes through the points of a square of 8 by 8
SHAPES = {
    "hook": [[(5, 1), (5, 6), (3, 7), (2, 6)]],
    "cross": [[(1, 4), (7, 4)], [(4, 1), (4, 7)]],
    "gate": [[(2, 7), (2, 1), (6, 1), (6, 7)]],
    "zigzag": [[(1, 2), (6, 2), (2, 6), (7, 6)]],
    "fork": [[(2, 1), (4, 4), (6, 1)], [(4, 4), (4, 7)]],
}
PICTURES = os.environ.get("JMETA_PICTURES")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        given = os.environ.get("JMETA_RUN")
        few = jmeta.load(given) if given else trained(tmp_path_factory.mktemp("run"), **SMALL)
    with served(few, seconds=60) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    assert not missing, f"the browser tests need {' and '.join(missing)}"
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(word)
    options.add_argument("--window-size=1180,960")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    found = webdriver.Chrome(options=options, service=service)
    yield found
    found.quit()


@pytest.fixture
def page(browser, address):
    """The page, as it is when it was opened."""
    browser.get(address)
    until(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, ".card")) == 2)
    return browser


def until(browser, condition, seconds=60):
    """Wait until something holds, and return what it is."""
    return WebDriverWait(browser, seconds, poll_frequency=0.1).until(lambda _: condition())


def draw(page, canvas, strokes, shift=0.0):
    """Draw strokes with a mouse."""
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    unit = canvas.size["width"] / 8
    hand = ActionChains(page, duration=10)
    for (x, y), *others in strokes:

        def place(x, y):
            return round((x + shift - 4) * unit), round((y + shift - 4) * unit)

        hand.move_to_element_with_offset(canvas, *place(x, y)).click_and_hold()
        for other in others:
            hand.move_to_element_with_offset(canvas, *place(*other))
        hand.release()
    hand.perform()


def cards(page):
    return page.find_elements(By.CSS_SELECTOR, ".card")


def named(page, card, name):
    field = card.find_element(By.CSS_SELECTOR, "input[type=text]")
    field.clear()
    field.send_keys(name)


def status(page):
    return page.find_element(By.ID, "status").text


def query(page):
    return page.find_element(By.CSS_SELECTOR, "#query canvas")


def complaints(page):
    """What the console of the browser has to say of errors."""
    return [entry["message"] for entry in page.get_log("browser") if entry["level"] == "SEVERE"]


def teach(page, shapes):
    """Draw an example of each shape."""
    for _ in range(len(shapes) - len(cards(page))):
        page.find_element(By.ID, "add-class").click()
    for card, (name, strokes) in zip(cards(page), shapes.items(), strict=True):
        named(page, card, name)
        draw(page, card.find_element(By.TAG_NAME, "canvas"), strokes)


def test_five_classes_are_drawn_and_a_sixth_drawing_is_named(page) -> None:
    teach(page, SHAPES)
    draw(page, query(page), SHAPES["cross"], shift=0.3)
    until(page, lambda: status(page).startswith("This is"))
    assert status(page).startswith("This is cross (")
    bars = page.find_elements(By.CSS_SELECTOR, "#bars li")
    assert [bar.find_element(By.CLASS_NAME, "name").text for bar in bars] == list(SHAPES)
    shares = [
        float(bar.find_element(By.CLASS_NAME, "share").text.removesuffix(" %")) for bar in bars
    ]
    assert abs(sum(shares) - 100) < 1
    assert not page.find_element(By.ID, "error").is_displayed()
    assert complaints(page) == []
    if PICTURES:
        take_pictures(page)


def take_pictures(page):
    """The page in both schemes, as files for the documentation."""
    for scheme in ("light", "dark"):
        wanted = [{"name": "prefers-color-scheme", "value": scheme}]
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted})
        page.execute_script("scrollTo(0, 0); document.activeElement.blur()")
        time.sleep(0.5)
        page.save_screenshot(str(Path(PICTURES) / f"serve-{scheme}.png"))


def test_words_say_what_is_missing_and_what_is_wrong(page) -> None:
    until(page, lambda: status(page) == "Draw an example of at least two classes.")
    first, second = cards(page)
    named(page, first, "B")
    until(page, lambda: status(page) == "Two classes have the same name.")
    first.find_element(By.CSS_SELECTOR, "input[type=text]").clear()
    page.execute_script("document.querySelector('.card input').dispatchEvent(new Event('input'))")
    until(page, lambda: status(page) == "Give every class a name.")
    named(page, first, "a" * 99)
    page.execute_script("document.querySelector('.card input').value = 'a\u0007'")
    draw(page, first.find_element(By.TAG_NAME, "canvas"), SHAPES["gate"])
    draw(page, second.find_element(By.TAG_NAME, "canvas"), SHAPES["cross"])
    error = page.find_element(By.ID, "error")
    until(page, error.is_displayed)
    assert error.text.startswith("The server says: examples[0].label must be text")
    named(page, first, "a")
    until(page, lambda: not error.is_displayed())
    complaints(page)


def test_works_by_keyboard(page) -> None:
    up, right, down = Keys.ARROW_UP, Keys.ARROW_RIGHT, Keys.ARROW_DOWN
    ways = [up * 8 + right * 8, right * 9 + down * 9, up * 8 + right * 8]
    canvases = [card.find_element(By.TAG_NAME, "canvas") for card in cards(page)]
    for canvas, way in zip([*canvases, query(page)], ways, strict=True):
        canvas.send_keys(Keys.SPACE, *way, Keys.SPACE)
    until(page, lambda: status(page).startswith("This is"))
    assert status(page).startswith("This is A (")
    query(page).send_keys(Keys.DELETE)
    until(page, lambda: status(page).startswith("It has learned"))
    reached = set()
    page.find_element(By.CSS_SELECTOR, ".card input").send_keys("")
    for _ in range(20):
        focused = page.switch_to.active_element
        reached.add(focused.get_attribute("aria-label") or focused.text or focused.tag_name)
        ActionChains(page).send_keys(Keys.TAB).perform()
    assert {"example 1 of A: draw here", "Add a class", "What is it: draw here"} <= reached


def test_takes_files_and_forgets_classes(page, tmp_path) -> None:
    from PIL import Image, ImageDraw

    files = []
    for name, strokes in SHAPES.items():
        picture = Image.new("RGB", (300, 200), "white")
        for stroke in strokes:
            points = [(x * 37, y * 25) for x, y in stroke]
            ImageDraw.Draw(picture).line(points, "black", 20)
        files.append(str(tmp_path / f"{name}.jpg"))
        picture.save(files[-1])
    first, second = cards(page)
    chooser = "input[type=file]"
    first.find_element(By.CSS_SELECTOR, chooser).send_keys("\n".join(files[:2]))
    second.find_element(By.CSS_SELECTOR, chooser).send_keys(files[2])
    page.find_element(By.CSS_SELECTOR, f"#query {chooser}").send_keys(files[2])
    until(page, lambda: status(page).startswith("This is B"))
    assert len(first.find_elements(By.TAG_NAME, "canvas")) == 2
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    page.find_element(By.CSS_SELECTOR, f"#query {chooser}").send_keys(str(broken))
    error = page.find_element(By.ID, "error")
    until(page, error.is_displayed)
    assert "broken.png is not a picture" in error.text
    second.find_elements(By.TAG_NAME, "button")[0].click()
    until(page, lambda: status(page) == "Draw an example of at least two classes.")
    assert len(cards(page)) == 1


def test_says_that_a_model_takes_no_pictures(browser, tmp_path, no_pictures) -> None:
    options = {"dataset": "sinusoid", "network": "mlp", "hidden": (8,)}
    with served(trained(tmp_path / "run", "maml", **options)) as address:
        browser.get(address)
        words = browser.find_element(By.ID, "words")
        until(browser, words.is_displayed)
        assert "does not take pictures" in words.text
        assert f"{address}/adapt" in browser.find_element(By.ID, "commands").text
        assert not browser.find_element(By.ID, "play").is_displayed()
