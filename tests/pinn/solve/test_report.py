"""The report of a solution opens offline in a browser, says what it was given, and hides nothing that is missing."""

import json
import math
from html.parser import HTMLParser

import numpy as np
import pytest

from pinn.solve.facts import SolveFacts
from pinn.solve.figures.all import draw_all
from pinn.solve.gates import MEASURES, GateSettings, judge
from pinn.solve.report import write_report
from pinn.solve.results import Evaluated, FoundParameter, PointSnapshot, Results, StageCost, field_error
from pinn.solve.summary import write_summary
from training.report.gates import sentence

X, T = np.meshgrid(np.linspace(-1, 1, 33), np.linspace(0, 1, 17), indexing="ij")
POINTS = np.stack([X.ravel(), T.ravel()], axis=1)
EXACT = np.sin(np.pi * POINTS[:, 0]) * np.exp(-POINTS[:, 1])
EVALUATED = Evaluated(
    *(("x", "t"), "t", POINTS, {"u": EXACT * (1 + 3e-6)}, {"u": EXACT}), {"burgers": 1e-4 * np.cos(POINTS[:, 0])}
)
RESULTS = Results(
    evaluation=EVALUATED,
    errors={"u": field_error(EVALUATED.solution["u"], EXACT, 2.2e-16)},
    floor_note="4,001 against 8,001 nodes of the trapezoid rule.",
    residual_rms={"burgers": 8.42e-5},
    residual_rms_before={"burgers": 3.17},
    condition_rms={"initial": 4.56e-7},
    parameters={"nu": FoundParameter(0.0031832, 0.01, 0.0031831)},
    stages={
        "adam": StageCost("Adam", "64-true", 2000, 34.0, 3000, 1.23e-3),
        "ssbroyden": StageCost("SSBroyden", "64-true", 3000, 120.0, 3456, 3.0e-6),
    },
    snapshots=tuple(
        PointSnapshot(step, "adam", np.random.default_rng(step).uniform(-1, 1, (500, 2)) ** [1, 2])
        for step in (0, 500, 1000)
    ),
    seconds=154.0,
    peak_memory_MB=612.3,
    n_parameters=1341,
)
FACTS = SolveFacts(
    title="Burgers' equation",
    formula=r"\frac{\partial u}{\partial t} + u \frac{\partial u}{\partial x} = \nu \frac{\partial^2 u}{\partial x^2}",
    coordinates=("x", "t"),
    bounds={"x": (-1.0, 1.0), "t": (0.0, 1.0)},
    fields=("u",),
    domain="x from −1 to 1, t from 0 to 1",
    conditions={"x=-1 and x=1": "u = 0, held exactly", "t=0": "u = −sin πx, learned"},
    equations="u_t + u u_x = ν u_xx",
    ansatz="u = (1 − x²) N(x, t)",
    reference="Cole–Hopf integral",
    network={"network": "MLP", "width": 20},
    stages={"adam": "2,000 steps at 1e-3"},
    sampling="RAD: 3,000 points, redrawn every 500 steps.",
    seeds={"run": 3},
    phases={"training": 154.0, "validation": 4.0},
    environment={"processor": "two cores"},
    command="python train.py experiment=burgers",
    files={"network.safetensors": "the network"},
    notes=("The stage ssbroyden was cut by its time limit.",),
)
ROWS = [
    {"step": step, "time": 1e9, "seconds": 0.03 * step, "stage": int(step >= 2000), "train/loss": 1 / (step + 1)}
    | {"train/burgers": 1 / (step + 1), "weight/burgers": 1.0, "parameter/nu": 0.01 - step * 1e-6}
    | {"validation/relative_l2_u": 1 / (step + 1)}
    for step in range(0, 5000, 100)
]
BARS = GateSettings(relative_l2=1e-5, minutes=5.0)


class Outline(HTMLParser):
    """Collects references and text, and checks that tags nest."""

    VOID = ("meta", "img", "br", "hr", "link", "input")

    def __init__(self):
        super().__init__()
        self.open, self.references, self.tags, self.text = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.references += [value for name, value in attributes if name in ("src", "href", "srcset", "action", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.text.append(text)


def outline(path):
    parser = Outline()
    parser.feed(path.read_text(encoding="utf-8"))
    assert parser.open == []
    return parser


def gates_of(results, settings=BARS):
    return judge(results.figures(), settings)


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    return draw_all(tmp_path_factory.mktemp("figures"), RESULTS, ROWS, FACTS, 1e-5)


@pytest.fixture(scope="module")
def report(figures, tmp_path_factory):
    return write_report(tmp_path_factory.mktemp("report"), RESULTS, gates_of(RESULTS), figures, FACTS)


def test_every_figure_of_the_run_is_inside_the_file_and_nothing_is_outside(report, figures):
    names = "equation solution_u slices_u residual points accuracy losses parameters"
    assert [saved.name for saved in figures] == names.split()
    parser = outline(report)
    assert len(parser.references) == len(figures)
    assert all(reference.startswith("data:image/svg+xml;base64,") for reference in parser.references)
    assert not {"script", "link", "iframe", "object"} & set(parser.tags)
    text = report.read_text(encoding="utf-8")
    assert "url(" not in text and "@import" not in text and "http" not in text
    assert report.stat().st_size < 3_000_000


def test_problem_verdict_numbers_and_costs_are_in_words(report):
    text = " ".join(outline(report).text)
    assert sentence(gates_of(RESULTS)) in text
    for words in (
        *("3.00e-6", "2.20e-16", "Cole–Hopf integral", "4,001 against 8,001 nodes", "561 fixed points"),
        *("8.42e-5", "3.17", "4.56e-7", "0.0031832", "0.0031831", "0.00314 %", "x from −1 to 1"),
        *("u = 0, held exactly", "u = −sin πx, learned", "u = (1 − x²) N(x, t)", "u_t + u u_x = ν u_xx"),
        *("SSBroyden", "3,456", "2 min 34 s", "40.0", "612 MB", "1,341", "RAD: 3,000 points", "cut by its time limit"),
        *('solution = pinn.load("network.safetensors")', "print(solution(x=0, t=0.5).u)", "python train.py"),
    ):
        assert words in text, words


def test_an_error_as_small_as_the_references_own_is_called_that(tmp_path):
    near = Results(EVALUATED, {"u": field_error(EVALUATED.solution["u"], EXACT, 1.1e-6)})
    assert "within a factor of three" in write_report(tmp_path, near, [], [], FACTS).read_text()
    far = Results(EVALUATED, {"u": field_error(EVALUATED.solution["u"], EXACT, 0.9e-6)})
    assert "within a factor of three" not in write_report(tmp_path, far, [], [], FACTS).read_text()


def test_without_a_reference_the_report_says_that_the_error_is_not_known(tmp_path):
    results = Results(Evaluated(("x", "t"), "t", POINTS, {"u": EXACT}), residual_rms={"burgers": 0.1})
    text = " ".join(outline(write_report(tmp_path, results, gates_of(results), [], FACTS)).text)
    assert "no reference; the error is not known" in text and "relative L2 error not measured (bar 1e-05)" in text
    assert FACTS.formula in text  # the equation as typed stands where no picture was drawn


def test_a_reference_of_unknown_error_is_said_to_be_one(tmp_path):
    results = Results(EVALUATED, {"u": field_error(EVALUATED.solution["u"], EXACT, None)})
    text = " ".join(outline(write_report(tmp_path, results, [], [], FACTS)).text)
    assert "not known" in text and "Its own error was not measured" in text


def test_names_given_by_users_cannot_become_markup(tmp_path):
    hostile = "<script>alert(1)</script>&\"'"
    facts = SolveFacts(
        *(hostile, hostile, ("x", "t"), FACTS.bounds, (hostile,), hostile),
        **{"conditions": {hostile: hostile}, "ansatz": hostile, "reference": hostile, "sampling": hostile},
        **{"network": {hostile: hostile}, "stages": {hostile: hostile}, "notes": (hostile,), "network_file": hostile},
    )
    parser = outline(write_report(tmp_path, RESULTS, gates_of(RESULTS), [], facts))
    assert "script" not in parser.tags and hostile in parser.text


def test_summary_is_read_back_as_written(tmp_path):
    written = write_summary(tmp_path, RESULTS, gates_of(RESULTS), {"seed": 3, "facts": FACTS.to_dict()})
    read = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert read == written and read["passed"] is True and read["verdict"] == sentence(gates_of(RESULTS))
    # a relative error of 3e-6 everywhere; rounding of the factor 1 + 3e-6 leaves 1e-10 of it
    assert read["relative_l2"] == read["relative_l2_u"] == pytest.approx(3e-6, rel=1e-9)
    assert read["reference_floor"] == 2.2e-16 and read["residual_rms"] == 8.42e-5 and read["peak_memory_MB"] == 612.3
    assert read["seconds"] == 154.0 and read["steps"] == 5000 and read["parameter_nu"] == 0.0031832
    assert read["details"]["stages"]["adam"]["ms_per_step"] == 17.0 and read["evaluation_points"] == 561
    assert read["facts"]["bounds"] == {"x": [-1.0, 1.0], "t": [0.0, 1.0]}


@pytest.mark.browser
def test_a_browser_shows_every_figure_from_disk_and_asks_nobody(report, figures, browser_paths, tmp_path):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    program, driver = browser_paths
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1000,1400"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path / 'profile'}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    try:
        chrome.get(report.as_uri())
        widths = chrome.execute_script("return [...document.images].map(image => image.naturalWidth)")
        assert len(widths) == len(figures) and min(widths) > 300
        assert chrome.find_element("css selector", "h1").text == "Burgers' equation"
        assert chrome.find_element("css selector", ".verdict").text.startswith("VERDICT\nAll 2 gates passed")
        overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert chrome.execute_script(overflow) == 0
        messages = [json.loads(entry["message"])["message"] for entry in chrome.get_log("performance")]
    finally:
        chrome.quit()
    # the browser's own start page asks for things too; what the report asks for bears its address
    sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    asked = {p["request"]["url"] for p in sent if p["documentURL"] == report.as_uri()}
    assert {url for url in asked if not url.startswith("data:")} == {report.as_uri()}
    # and no request of anybody left the machine
    assert not [p["request"]["url"] for p in sent if p["request"]["url"].startswith(("http", "ws"))]


class TestResults:
    def test_every_bar_has_a_figure_of_its_name_and_words_for_it(self):
        assert set(GateSettings.model_fields) == set(MEASURES) <= set(RESULTS.figures())

    def test_relative_l2_is_that_of_the_worst_field(self):
        fields = {"u": EXACT, "v": EXACT * 1.5}
        results = Results(EVALUATED, {name: field_error(values, EXACT, None) for name, values in fields.items()})
        figures = results.figures()
        assert figures["relative_l2_u"] == 0.0 and figures["relative_l2"] == pytest.approx(0.5, rel=1e-14)

    def test_a_field_that_is_no_number_cannot_hide_behind_another(self):
        fields = {"u": EXACT, "v": EXACT * math.nan}
        results = Results(EVALUATED, {name: field_error(values, EXACT, None) for name, values in fields.items()})
        assert math.isnan(results.figures()["relative_l2"])
        assert gates_of(results, GateSettings(relative_l2=1.0))[0].passed is False

    def test_a_reference_of_zero_has_no_relative_error(self):
        with pytest.raises(ValueError, match="zero everywhere"):
            field_error(EXACT, 0 * EXACT, None)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"coordinates": ("x",)}, r"have the shape \(561, 1\); got \(561, 2\)"),
            ({"time": "z"}, "time z is none of the coordinates x, t"),
            ({"reference": {"v": EXACT}}, "reference for v but no solution"),
            ({"solution": {"u": EXACT[:5]}}, r"u has one value for each of the 561 points; got \(5,\)"),
            ({"residual": {"r": POINTS}}, r"r has one value for each of the 561 points; got \(561, 2\)"),
        ],
    )
    def test_arrays_that_do_not_fit_are_named(self, change, message):
        with pytest.raises(ValueError, match=message):
            Evaluated(**{**vars(EVALUATED), **change})
