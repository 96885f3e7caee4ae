"""The page in headless Chromium, driven over its DevTools protocol: it sorts, filters, fits a phone, loads nothing, runs nothing else."""

import fcntl
import json
import os
import select
import shutil
import subprocess
import time

import pytest

from coderl_jax.report import page

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --remote-debugging-pipe""".split()
HOSTILE = """a = "</style></pre><script>document.title = 'owned'</script>"
b = '\u202e<img src=x onerror="document.title = 1">' # &lt;i&gt; --> </article>\n"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason=f"no browser: none of {', '.join(NAMES)} is installed"),
]


class Browser:
    """One headless browser with one tab. Messages are JSON between zero bytes, over pipes that it has as files 3 and 4."""

    def __init__(self, folder):
        read, write = os.pipe(), os.pipe()
        # Above 10, so that opening 3 and 4 closes neither of them.
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (read[0], write[1])]
        line = f'exec "$@" 3</dev/fd/{theirs[0]} 4>/dev/fd/{theirs[1]}'
        command = ["sh", "-c", line, "sh", CHROMIUM, *FLAGS, f"--user-data-dir={folder}", "about:blank"]
        self.process = subprocess.Popen(command, pass_fds=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for end in (*theirs, read[0], write[1]):
            os.close(end)
        self.ends, self.rest, self.last, self.session, self.events = (read[1], write[0]), b"", 0, None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """What a method returns. Events that come before it are kept."""
        self.last += 1
        message = {"id": self.last, "method": method, "params": parameters} | ({"sessionId": self.session} if self.session else {})
        os.write(self.ends[0], json.dumps(message).encode() + b"\0")
        while (answer := self.receive()).get("id") != self.last:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def receive(self, seconds=60):
        """The next message."""
        until = time.monotonic() + seconds
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.ends[1]], [], [], max(0, until - time.monotonic()))
            part = os.read(self.ends[1], 1 << 20) if ready else b""
            assert part, f"the browser said nothing for {seconds} s, or ended"
            self.rest += part
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def run(self, expression):
        """The value of a JavaScript expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def show(self, path, width=1200, height=900, scheme="light"):
        """Load a page into a window of a size, in a colour scheme; forgets earlier events."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.receive())

    def said(self, *methods):
        """Parameters of the events of these names."""
        self.run("0")  # whatever came before it has arrived
        return [event["params"] for event in self.events if event.get("method") in methods]

    def press(self, key, code):
        """A key, down and up."""
        key_of = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text="\r" if key == "Enter" else "", **key_of)
        self.call("Input.dispatchKeyEvent", type="keyUp", **key_of)

    def close(self):
        """End the browser."""
        try:
            self.call("Browser.close")
            self.process.wait(20)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        for end in self.ends:
            os.close(end)


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = rows if path.suffix == ".jsonl" else [rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in lines))


def program_rows():
    """Nine programs of three problems: outcome, stage and error by problem and index."""
    kinds = [("passed", "drawn", None), ("failed_test", "refined", None), ("runtime_error", "repaired", "NameError")]
    for problem, name in enumerate(("easy-a", "hard-b", "hard-c")):
        for index, (outcome, stage, error) in enumerate(kinds):
            text = HOSTILE if (problem, index) == (2, 2) else f"def solve(x):\n    return x + {problem}{index}\n"
            yield {"problem_id": name, "index": index, "program": text, "stage": stage, "outcome": outcome, "error_type": error}


def score_row(row):
    """A score of three tokens: all but the last character, the last one, the end token."""
    length, passed = len(row["program"]), row["outcome"] == "passed"
    kept = {name: row[name] for name in ("problem_id", "index", "program", "stage", "outcome")}
    values = [0.9, 0.6, 0.9] if passed else [0.55, 0.8, 0.95]
    probabilities = [0.2, 0.8] if passed else [0.7, 0.3]
    starts = {"token_starts": [0, length - 1, length], "refine_cut": 1}
    return kept | {"classes": 2, "outcome_probabilities": probabilities, "tokens": [5, 6, 2], "token_values": values} | starts


def report(passing):
    rows = [{"id": "easy-a", "n": 3, "difficulty": None}]
    return {"pass@k": {"1": passing}, "interval_95": {"pass@k": {"1": [passing - 0.05, passing + 0.05]}}, "per_problem": rows}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The page of a small folder."""
    root = tmp_path_factory.mktemp("report") / "runs"
    rows = list(program_rows())
    write(root / "t.verdicts.jsonl", rows)
    write(root / "t.example_verdicts.jsonl", [row | {"outcome": "passed"} for row in rows])
    write(root / "t.binary.scores.jsonl", list(map(score_row, rows)))
    hostile = {"id": "hard-c", "statement": HOSTILE, "difficulty": "hard"}
    write(root / "problems.jsonl", [{"id": "easy-a", "statement": "Add numbers.", "difficulty": "easy"}, hostile])
    for name, passing in (("nine", 0.09), ("eighty", 0.8), ("hundred", 1.0)):
        write(root / f"{name}.report.json", report(passing))
    parts = {"outcomes": {"passed": 0.6, "failed_test": 0.4}, "error_types": {HOSTILE: 0.1}, "returns": {"-1.3": 0.2, "0.0": 0.8}}
    parts["by_difficulty"] = {HOSTILE: {"problems": 2, "sampled_pass": 0.5, "greedy_pass": 0.5, "outcomes": {"passed": 1.0}}}
    for seed in (0, 1):
        write(root / f"rl{seed}/config.json", {"rounds": 2, "seed": seed})
        history = [{"step": at, "validation_pass@1": 0.5 + at / 10, "kl": 0.1 * at, "seconds": {"update": at}} | parts for at in (1, 2)]
        write(root / f"rl{seed}/metrics.jsonl", history)
        write(root / f"rl{seed}/manifest.json", {"command": ["python", "-m", HOSTILE, "x" * 200], "inputs": {"long": "y" * 300}})
    write(root / "t.programs.funnel.json", {"stages": {"drawn": {"programs": 3, "pass_example": 3, "problems": 3}}})
    write(root / "test/train.no_critic_no_baseline.greedy.example_verdicts_of_a_long_name.jsonl.manifest.json", {"command": ["x"]})
    write(root / "timing.json", {"a stage of a long name": 12.5, HOSTILE: 2})
    (root.parent / "page.html").write_text(page([root]), encoding="utf-8")
    return root.parent / "page.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = Browser(tmp_path_factory.mktemp("chromium"))
    yield found
    found.close()


def column(browser, heading, at):
    """Texts of the column `at` of the table below the first heading that contains a text."""
    first = f"[...document.querySelectorAll('h2, h3')].find(h => h.textContent.includes({json.dumps(heading)}))"
    table = f"{first}.parentElement.querySelector('table')"
    return browser.run(f"[...{table}.tBodies[0].rows].map(row => row.cells[{at}].textContent)")


def shown(browser):
    """Cards in sight, as problem and program, and the count that the page tells."""
    cards = "[...document.querySelectorAll('article.card')].filter(card => card.getClientRects().length)"
    names = browser.run(f"{cards}.map(card => card.querySelector('.head b').textContent + card.innerText.match(/program (\\d)/)[1])")
    return names, browser.run("document.getElementById('count').textContent")


def choose(browser, name, value):
    choice = f"document.querySelector('select[data-filter={name}]')"
    browser.run(f"{choice}.value = {json.dumps(value)}; {choice}.dispatchEvent(new Event('change'))")


def test_a_header_sorts_its_table_by_number_up_down_and_back(browser, files):
    browser.show(files)
    click = "document.querySelector('#results thead th:nth-child(2) button').click()"
    state = "document.querySelector('#results thead th:nth-child(2)').getAttribute('aria-sort')"
    assert column(browser, "Results", 0) == ["eighty", "hundred", "nine"]
    for expected in (["nine", "eighty", "hundred"], ["hundred", "eighty", "nine"], ["eighty", "hundred", "nine"]):
        browser.run(click)
        assert column(browser, "Results", 0) == expected  # by text, 100.0 would stand between 80.0 and 9.0
    assert browser.run(state) is None
    browser.run(click)
    assert browser.run(state) == "ascending"
    browser.run("document.querySelector('#results thead th button').click()")
    assert browser.run(state) is None
    assert column(browser, "Results", 0) == ["eighty", "hundred", "nine"]


def test_the_keyboard_sorts_too(browser, files):
    browser.show(files)
    browser.run("document.querySelector('#results thead th button').focus()")
    browser.press("Tab", 9)
    browser.press("Enter", 13)
    assert column(browser, "Results", 0) == ["nine", "eighty", "hundred"]


def test_every_column_of_every_table_can_be_sorted(browser, files):
    browser.show(files)
    tables = browser.run("document.querySelectorAll('table').length")
    assert tables >= 5  # results, runs, false positives, critics, confusion
    assert browser.run("[...document.querySelectorAll('thead th')].every(head => head.querySelector('button'))")
    browser.run("document.querySelectorAll('thead th button').forEach(button => { button.click(); button.click(); })")
    assert browser.run("document.querySelectorAll('[aria-sort=descending]').length") == tables


def test_choices_leave_the_right_programs(browser, files):
    browser.show(files)
    assert len(shown(browser)[0]) == 9
    choose(browser, "outcome", "passed")
    assert shown(browser) == (["easy-a0", "hard-b0", "hard-c0"], "3 of 9 shown")
    choose(browser, "difficulty", "hard")
    assert shown(browser) == (["hard-c0"], "1 of 9 shown")
    choose(browser, "stage", "repaired")
    assert shown(browser) == ([], "0 of 9 shown")
    choose(browser, "outcome", "*")
    choose(browser, "error", "NameError")
    assert shown(browser) == (["hard-c2"], "1 of 9 shown")
    browser.run("document.getElementById('clear').click()")
    assert shown(browser)[1] == "9 of 9 shown"


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("x + 01", ["easy-a1"]),
        ("HARD-B", ["hard-b0", "hard-b1", "hard-b2"]),
        ("add numbers", ["easy-a0", "easy-a1", "easy-a2"]),
        ("nameerror", ["easy-a2", "hard-b2", "hard-c2"]),
        ("<script>", ["hard-c0", "hard-c1", "hard-c2"]),
        (".*", []),
    ],
)
def test_search_finds_text_of_programs_ids_statements_and_errors(browser, files, typed, found):
    browser.show(files)
    browser.run("document.getElementById('search').focus()")
    browser.call("Input.insertText", text=typed)
    names, count = shown(browser)
    assert sorted(names) == found
    assert count == f"{len(found)} of 9 shown"


def test_without_a_script_every_program_is_in_sight_and_no_control_is(browser, files):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.show(files)
        assert browser.run("[...document.querySelectorAll('article.card')].filter(card => card.getClientRects().length).length") == 9
        assert browser.run("document.getElementById('controls').getClientRects().length") == 0
        assert browser.run("document.querySelectorAll('th button').length") == 0
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)


def test_tokens_are_coloured_and_the_cut_stands_before_its_token(browser, files):
    browser.show(files)
    card = "[...document.querySelectorAll('article.card')].find(card => card.dataset.outcome === 'runtime_error')"
    tokens = browser.run(f"[...{card}.querySelectorAll('pre.program i')].map(i => [i.className, i.title])")
    # p(passed) of a failing program is one minus its values. The first token has two lines and the end of the first.
    assert tokens == [["v4", "0.45"], ["v4 nl", "0.45"], ["v4", "0.45"], ["v1 nl", "0.20"], ["v0 end", "0.05"]]
    assert browser.run(f"{card}.querySelector('.cut').nextElementSibling.title") == "0.20"
    colours = "[...document.querySelectorAll('.shades i')].map(i => getComputedStyle(i).backgroundColor)"
    light = browser.run(colours)
    assert len(set(light)) >= 15
    browser.show(files, scheme="dark")
    assert not set(browser.run(colours)) & set(light)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_fits_its_window(browser, files, width, scheme):
    browser.show(files, width=width, scheme=scheme)
    browser.run("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.body.scrollWidth") <= width


def test_the_page_asks_for_nothing_and_reports_no_error(browser, files):
    browser.show(files)
    browser.run("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    browser.run("document.querySelectorAll('button').forEach(button => button.click())")
    assert [event["request"]["url"] for event in browser.said("Network.requestWillBeSent")] == [files.as_uri()]
    assert browser.said("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded") == []


def test_hostile_text_is_inert(browser, files):
    browser.show(files)
    assert browser.run("document.title") == "runs: run report"
    assert browser.run("document.scripts.length") == 1
    assert browser.run("document.images.length") == 0
    assert browser.run("document.querySelectorAll('article.card article, article.card style').length") == 0
    text = browser.run("[...document.querySelectorAll('article.card')].find(c => c.innerText.includes('owned')).innerText")
    assert "<script>document.title = 'owned'</script>" in text
    assert "<U+202E><img" in text


def test_a_script_that_came_in_would_not_run(browser, files, tmp_path):
    page_with = tmp_path / "page.html"
    page_with.write_text(files.read_text(encoding="utf-8").replace("<main>", "<main><script>document.title = 'owned'</script>"))
    browser.show(page_with)
    assert browser.run("document.title") == "runs: run report"
    assert any("Content Security Policy" in event["entry"]["text"] for event in browser.said("Log.entryAdded"))
