"""The report in a real browser: Chromium, driven over the WebDriver protocol by its own chromedriver."""

import json
import math
import shutil
import subprocess
import urllib.error
import urllib.request
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_toys import RUN, SEARCH, begun, big_search, result, write_history, write_results

from helixband.report.__main__ import main
from helixband.results.directory import Results
from helixband.results.scored import write_scored

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

if CHROMIUM is None or DRIVER is None:
    pytest.skip("Chromium and chromedriver are not installed", allow_module_level=True)

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1280,900"
)


class Browser:
    """A page in Chromium."""

    def __init__(self, port: int, profile: Path) -> None:
        self._url = f"http://127.0.0.1:{port}/session"
        options = {"binary": CHROMIUM, "args": [*FLAGS.split(), f"--user-data-dir={profile}"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        found = self._call("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        self._url += f"/{found['sessionId']}"

    def _call(self, method: str, path: str, document: Any = None) -> Any:
        data = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(self._url + path, data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(error.read().decode()) from None

    def open(self, path: Path, width: int = 1280, dark: bool = False) -> None:
        """Show a file in a window of this width."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.devtools("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme])
        self._call("POST", "/url", {"url": path.resolve().as_uri()})

    def devtools(self, command: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def run(self, script: str, *arguments: Any) -> Any:
        """What the body of a function in JavaScript returns, after the next frame is drawn."""
        wrapped = f"""
            const done = arguments[arguments.length - 1], given = [...arguments].slice(0, -1);
            const told = () => {{
              try {{ done([(function() {{{script}}})(...given), null]); }}
              catch (error) {{ done([null, String(error)]); }}
            }};
            requestAnimationFrame(() => setTimeout(told));
        """
        value, error = self._call("POST", "/execute/async", {"script": wrapped, "args": arguments})
        assert error is None, error
        return value

    def log(self) -> list[str]:
        """What came to the console since the last look."""
        return [entry["message"] for entry in self._call("POST", "/se/log", {"type": "browser"})]

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        image = self.devtools("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(b64decode(image["data"]))

    def place(self, selector: str, across: float = 0.5, down: float = 0.5) -> tuple[int, int]:
        """A point of an element, which is scrolled into the middle of the window, in pixels of the window."""
        found = self.run(
            "const e = document.querySelector(arguments[0]);"
            "e.scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'});"
            "const r = e.getBoundingClientRect(); return [r.left, r.top, r.width, r.height];",
            selector,
        )
        left, top, width, height = found
        return math.floor(left + across * width), math.floor(top + down * height)

    def pointer(self, *steps: tuple[int, int] | str, touch: bool = False) -> None:
        """Move a pointer to places, and press it ("down") and let go ("up") between."""
        actions = [
            {"type": f"pointer{step.title()}", "button": 0}
            if isinstance(step, str)
            else {"type": "pointerMove", "x": step[0], "y": step[1], "duration": 20}
            for step in steps
        ]
        kind = "touch" if touch else "mouse"
        source = {"type": "pointer", "id": kind, "parameters": {"pointerType": kind}, "actions": actions}
        self._call("POST", "/actions", {"actions": [source]})

    def click(self, selector: str) -> None:
        self.pointer(self.place(selector), "down", "up")

    def press(self, key: str) -> None:
        """Press a key where the focus is."""
        keys = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": keys}]})

    def close(self) -> None:
        self._call("DELETE", "")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert DRIVER
    with subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            port = next(line for line in process.stdout if "started successfully on port" in line)
            shown = Browser(int(port.rstrip(".\n").split()[-1]), tmp_path_factory.mktemp("profile"))
            yield shown
            shown.close()
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a search with 40 trials."""
    path = big_search(tmp_path_factory.mktemp("search"), 40)
    assert main([str(path)]) == 0
    return path / "report.html"


def column(browser: Browser, name: str) -> list[str]:
    """The cells of a column of the table that are seen, from top to bottom."""
    found = browser.run(
        "const heads = [...document.querySelectorAll('#table thead th')];"
        "const k = heads.findIndex(h => h.textContent === arguments[0]);"
        "return [...document.querySelectorAll('#table tbody tr')].filter(r => !r.hidden)"
        ".map(r => r.cells[k].textContent);",
        name,
    )
    assert isinstance(found, list)
    return found


def numbers(cells: list[str]) -> list[float]:
    return [float(cell.replace("−", "-")) for cell in cells if cell]


def sorting(browser: Browser) -> dict[str, str]:
    """The headings that tell of an order."""
    found = browser.run(
        "return Object.fromEntries([...document.querySelectorAll('th[aria-sort]')]"
        ".map(h => [h.textContent, h.getAttribute('aria-sort')]))"
    )
    assert isinstance(found, dict)
    return found


def chosen(browser: Browser) -> str:
    return str(browser.run("return document.getElementById('count').textContent"))


@pytest.mark.parametrize("width", [1280, 360])
def test_the_report_opens_without_errors_and_is_as_wide_as_the_window(
    browser: Browser, report: Path, width: int
) -> None:
    browser.open(report, width)
    assert browser.run("return [document.documentElement.scrollWidth <= innerWidth, innerWidth]") == [
        True,
        width,
    ]
    assert len(column(browser, "trial")) == 40
    assert browser.log() == []


def test_the_text_of_a_narrow_window_is_inside_it(browser: Browser, report: Path) -> None:
    browser.open(report, 360)
    outside = browser.run(
        "return [...document.querySelectorAll('h1, h2, h3, p, dl, select, figure, summary')]"
        ".map(e => [e.textContent, e.getBoundingClientRect()])"
        ".filter(([, r]) => r.width && (r.left < 0 || r.right > 360)).map(([text]) => text)"
    )
    assert outside == []


def test_labels_of_an_axis_do_not_overlap(browser: Browser, report: Path) -> None:
    for width in (360, 1280):
        browser.open(report, width)
        overlaps = browser.run(
            "const bad = []; for (const svg of document.querySelectorAll('figure svg')) {"
            "  const boxes = [...svg.querySelectorAll('text:not(.hot-name)')].filter(t => t.textContent)"
            "    .map(t => [t.textContent, t.getBoundingClientRect()]);"
            "  boxes.forEach(([a, r], i) => boxes.slice(0, i).forEach(([b, s]) => {"
            "    const beside = r.right <= s.left || s.right <= r.left;"
            "    const above = r.bottom <= s.top + 2 || s.bottom <= r.top + 2;"
            "    if (!beside && !above) bad.push([a, b]); })); } return bad;"
        )
        assert overlaps == []


def test_the_table_is_sorted_by_reward_and_by_a_click_on_a_heading(browser: Browser, report: Path) -> None:
    browser.open(report)
    assert sorting(browser) == {"reward": "descending"}
    rewards = numbers(column(browser, "reward"))
    assert rewards == sorted(rewards, reverse=True)
    assert column(browser, "reward")[-1] == ""  # a failed trial is last, either way
    browser.click("#table th:nth-child(2) button")
    assert sorting(browser) == {"reward": "ascending"}
    assert numbers(column(browser, "reward")) == sorted(rewards)
    assert column(browser, "reward")[-1] == ""


def test_the_table_is_sorted_by_keyboard(browser: Browser, report: Path) -> None:
    browser.open(report)
    browser.run("document.querySelector('#table th button').focus()")
    browser.press("\ue007")  # Enter
    assert sorting(browser) == {"trial": "ascending"}
    assert column(browser, "trial") == [f"{trial:04d}" for trial in range(40)]
    browser.press(" ")
    assert sorting(browser) == {"trial": "descending"}


def test_arrow_keys_go_through_the_trials(browser: Browser, report: Path) -> None:
    browser.open(report)
    browser.run("document.getElementById('table').focus()")
    best, second = column(browser, "trial")[:2]
    browser.press("\ue015")  # down
    assert browser.run("return document.getElementById('hot').textContent").startswith(f"Trial {best} ")
    browser.press("\ue015")
    assert browser.run("return document.querySelector('tr.hot th').textContent") == second


@pytest.mark.parametrize("touch", [False, True], ids=["mouse", "touch"])
def test_a_drag_on_an_axis_chooses_trials_and_a_tap_lets_go(
    browser: Browser, report: Path, touch: bool
) -> None:
    browser.open(report, 360 if touch else 1280)
    before = numbers(column(browser, "dropout"))
    grip = "[data-axis=dropout]"
    start, end = browser.place(grip, down=0.01), browser.place(grip, down=0.4)
    scrolled = browser.run("return scrollY")
    browser.pointer(start, "down", end, "up", touch=touch)
    kept = numbers(column(browser, "dropout"))
    assert 0 < len(kept) < len(before)
    assert sorted(kept) == sorted(before)[-len(kept) :]  # the upper part of the axis: large values
    assert chosen(browser) == f"{len(kept)} of 40 trials chosen"
    assert browser.run("return document.querySelectorAll('path.dim:not([d=\"\"])').length") > 0
    assert browser.run("return scrollY") == scrolled  # the finger has not moved the page
    browser.pointer(end, "down", "up", touch=touch)
    assert len(column(browser, "trial")) == 40
    assert chosen(browser) == ""


def test_two_axes_choose_what_passes_both_and_the_button_chooses_all(browser: Browser, report: Path) -> None:
    browser.open(report)
    for grip in ("[data-axis=optimizer]", "[data-axis=reward]"):
        browser.pointer(browser.place(grip, down=0.02), "down", browser.place(grip, down=0.3), "up")
    assert set(column(browser, "optimizer")) == {"sgd"}  # the uppermost category
    assert 0 < len(column(browser, "trial")) < 14
    browser.click("#clear")
    assert len(column(browser, "trial")) == 40


def test_pointing_at_a_curve_names_its_trial_everywhere(browser: Browser, report: Path) -> None:
    browser.open(report)
    spot = browser.run(
        "const plot = drawings.curves[0]; plot.svg.scrollIntoView({block: 'center'});"
        "const r = plot.svg.getBoundingClientRect(); const i = TRIALS.findIndex(t => t.epochs === 27);"
        "const [x, y] = plot.spots[i].slice(-2); return [Math.round(r.left + x), Math.round(r.top + y)];"
    )
    browser.pointer((spot[0], spot[1]))
    name = browser.run("return document.querySelector('tr.hot th').textContent")
    assert browser.run("return document.getElementById('hot').textContent").startswith(
        f"Trial {name} · reward"
    )
    assert browser.run("return drawings.curves[0].name.textContent") == name
    drawn = browser.run("return drawings.others.filter(p => p.hot.getAttribute('d')).length")
    assert drawn >= 7  # parallel coordinates and the scatters that it has a value for
    browser.pointer((3, 3))
    assert browser.run("return [state.hot, document.querySelectorAll('tr.hot').length]") == [None, 0]


def test_another_metric_can_be_chosen(browser: Browser, report: Path) -> None:
    browser.open(report)
    labels = (
        "return [...document.querySelectorAll('#curve-plots svg')].map(s => s.getAttribute('aria-label'))"
    )
    assert all(label.endswith("reward against epoch") for label in browser.run(labels))
    browser.run(
        "const select = document.getElementById('metric'); select.value = 'val_loss';"
        "select.dispatchEvent(new Event('change'))"
    )
    assert all(label.endswith("val_loss against epoch") for label in browser.run(labels))


def test_the_window_may_change_its_width(browser: Browser, report: Path) -> None:
    browser.open(report, 1280)
    browser.devtools(
        "Emulation.setDeviceMetricsOverride", width=500, height=900, deviceScaleFactor=1, mobile=False
    )
    browser.run("return 0")
    assert browser.run("return document.documentElement.scrollWidth") <= 500
    assert browser.run("return Math.max(...drawings.curves.map(p => p.svg.width.baseVal.value))") <= 500


def test_a_dark_page_has_a_dark_ground_but_in_print(browser: Browser, report: Path) -> None:
    ground = "return getComputedStyle(document.body).backgroundColor"
    browser.open(report, dark=True)
    assert browser.run(ground) == "rgb(21, 21, 21)"
    scheme = {"name": "prefers-color-scheme", "value": "dark"}
    browser.devtools("Emulation.setEmulatedMedia", media="print", features=[scheme])
    assert browser.run(ground) == "rgb(255, 255, 255)"
    browser.devtools("Emulation.setEmulatedMedia", media="")


def test_a_name_can_do_no_harm(browser: Browser, tmp_path: Path) -> None:
    bad = "</script><script>document.title = 'broken'</script><b>ü𝄞"
    events = [SEARCH, begun(0, {bad: bad}), begun(1, {bad: 1}), result(0, 1, None, 0, error=bad)]
    assert main([str(write_results(tmp_path, events, RUN | {"definition": {"path": f"{bad}.py"}}))]) == 0
    browser.open(tmp_path / "report.html")
    assert browser.log() == []
    assert browser.run("return document.title") == f"{Path(bad).name}.py: trials and results"
    assert json.dumps(bad, ensure_ascii=False) in column(browser, bad.replace("/", "~1"))
    assert browser.run("return document.querySelectorAll('b:not(.bar b)').length") == 0


@pytest.mark.parametrize("trials", [0, 1])
def test_a_search_that_has_hardly_begun_is_shown(browser: Browser, tmp_path: Path, trials: int) -> None:
    assert main([str(write_results(tmp_path, [SEARCH, begun(0, {"lr": 0.1})][: 1 + trials]))]) == 0
    browser.open(tmp_path / "report.html")
    assert browser.log() == []
    assert browser.run("return document.querySelectorAll('#table tbody tr').length") == trials


def test_a_training_without_a_search_is_shown(browser: Browser, tmp_path: Path) -> None:
    write_history(tmp_path, "single", [-3.0, None, -1.0, -1.5])
    (tmp_path / "trials" / "single" / "config.json").write_text('{"lr": 0.1}')
    assert main([str(tmp_path)]) == 0
    browser.open(tmp_path / "report.html")
    assert browser.log() == []
    assert column(browser, "trial") == ["single"]
    assert column(browser, "best epoch") == ["3"]
    assert browser.run("return document.querySelectorAll('#curve-plots path.level-0').length") == 2
    assert browser.run(
        "return [...document.querySelectorAll('#curve-plots h3')].map(h => h.textContent)"
    ) == ["reward", "loss"]


def test_the_table_has_metrics_durations_and_dates(browser: Browser, tmp_path: Path) -> None:
    write_results(
        tmp_path, [SEARCH, begun(0, {"lr": 0.1}, bracket=1), begun(1, {"lr": 0.2}), result(0, 2, -1.0, 2)]
    )
    rows = [{"epoch": k, "val_loss": 2.0 / k, "reward": -2.0 / k, "seconds": 100.0} for k in (1.0, 2.0)]
    Results(tmp_path).trial("0000").write_history(rows)
    assert main([str(tmp_path)]) == 0
    browser.open(tmp_path / "report.html")
    assert browser.log() == []
    assert column(browser, "val_loss") == ["1", ""]
    assert column(browser, "duration") == ["3 min", ""]
    written = (Results(tmp_path).trial("0000").written() or "")[:16].replace("T", " ")
    assert column(browser, "last epoch (UTC)") == [written, ""]
    assert column(browser, "bracket") == ["2", "1"]


def test_a_table_that_is_wider_than_the_window_fades_until_its_end_is_seen(
    browser: Browser, report: Path
) -> None:
    browser.open(report, 360)
    fades = "return document.getElementById('table').classList.contains('more')"
    assert browser.run(fades)
    browser.run("document.getElementById('table').scrollLeft = 1e5")
    assert not browser.run(fades)


def test_axes_say_that_they_are_logarithmic(browser: Browser, report: Path) -> None:
    browser.open(report)
    said = (
        "return [...document.querySelectorAll('#scatter-plots figure')]"
        ".filter(f => f.textContent.includes('log scale')).map(f => f.querySelector('h3').textContent)"
    )
    assert browser.run(said) == ["lr", "weight_decay"]
    assert "epoch (log scale)" in browser.run("return document.getElementById('curve-plots').textContent")
    assert browser.run("return document.getElementById('parallel-plot').textContent").count("log scale") == 2


def test_the_learning_rate_has_a_curve(browser: Browser, tmp_path: Path) -> None:
    write_results(tmp_path, [SEARCH, begun(0, {"lr": 0.1}), result(0, 2, -1.0, 2)])
    rows = [{"epoch": k, "reward": -1.0, "lr": 0.1**k} for k in (1.0, 2.0, 3.0)]
    Results(tmp_path).trial("0000").write_history(rows)
    assert main([str(tmp_path)]) == 0
    browser.open(tmp_path / "report.html")
    assert browser.run("return document.querySelector('#curve-plots figure:last-child').textContent").count(
        "learning rate (log scale)"
    )


@pytest.mark.parametrize("width", [400, 1280])
def test_a_test_result_fits_into_the_window(browser: Browser, tmp_path: Path, width: int) -> None:
    write_results(tmp_path, [SEARCH, begun(0, {"lr": 0.1}), result(0, 2, -1.0, 2)])
    (tmp_path / "test_result.json").write_text('{"accuracy": 0.5}')
    true = np.arange(300) % 15
    scores = np.random.default_rng(0).random((300, 15))
    names = tuple(f"</script><b>a class with a long name {k}" for k in range(15))
    write_scored(
        tmp_path / "test_predictions.npz", true, scores / scores.sum(1, keepdims=True), names, "classes"
    )
    assert main([str(tmp_path)]) == 0
    browser.open(tmp_path / "report.html", width)
    assert browser.log() == []
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.run("return document.querySelectorAll('svg.chart').length") == 3
    assert browser.run("return document.querySelectorAll('b:not(.bar b)').length") == 0


def test_legends_name_the_lines_of_their_own_plots(browser: Browser, tmp_path: Path) -> None:
    events = [SEARCH, begun(0, {"lr": 0.1}), begun(1, {"lr": 0.2}), result(0, 3, -1.0), result(0, 9, -0.5)]
    write_results(tmp_path, [*events, result(1, 3, -2.0)])
    for name, rewards in {"0000": [-1.0] * 9, "0001": [-2.0] * 3}.items():
        write_history(tmp_path, name, [*rewards])
    (tmp_path / "test_result.json").write_text('{"accuracy": 0.5}')
    true, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
    write_scored(tmp_path / "test_predictions.npz", true, scores, ("no", "yes"), "classes")
    assert main([str(tmp_path)]) == 0
    browser.open(tmp_path / "report.html")
    legends = browser.run(
        "return [...document.querySelectorAll('.legend')]"
        ".map(list => [...list.children].map(item => item.textContent))"
    )
    epochs = ["3 epochs", "9 epochs"]
    assert legends == [["yes: 0.75"], ["yes: 0.833"], epochs, epochs, epochs]


def test_a_thousand_trials_are_shown_and_filtered_at_once(browser: Browser, tmp_path: Path) -> None:
    path = big_search(tmp_path, 1000, max_epochs=81)
    assert main([str(path)]) == 0
    assert (path / "report.html").stat().st_size < 1_000_000
    browser.open(path / "report.html")
    took = browser.run(
        "const start = performance.now();"
        "setFilter('x', {at: TRIALS.map((_, i) => i), low: 0, high: 499});"
        "views.forEach(view => view.paint()); document.body.offsetHeight; return performance.now() - start;"
    )
    assert took < 1000  # milliseconds; about 50 on an idle machine
    assert chosen(browser) == "500 of 1000 trials chosen"
