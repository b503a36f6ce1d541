"""The README keeps its promises: snippets run, figures come out, links lead somewhere."""

import inspect
import re
import runpy
import tomllib
from pathlib import Path

import matplotlib as mpl
import pytest

import tinynn as tnn
from tinynn.course import exercises

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]
SNIPPETS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_readme_has_snippets():
    assert len(SNIPPETS) == README.count("```python") == 2


def run(snippet):
    namespace = {"__name__": "snippet"}
    exec(compile(snippet, "README.md", "exec"), namespace)
    return namespace


def test_the_loop(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(mpl.rcParams, "backend", "agg")
    monkeypatch.chdir(tmp_path)
    from matplotlib import pyplot

    ran = run(SNIPPETS[0])
    assert isinstance(ran["loss"], float)
    assert ran["scores"].shape == (ran["data"].test_loader.n_samples, 10)
    assert ran["model"].backpropagate(ran["loss_fn"].backpropagate(), input_gradient=False) is None
    results = eval(capsys.readouterr().out.splitlines()[-1])
    assert results["accuracy"] > 0.95
    pyplot.close("all")


def test_the_module_of_ones_own():
    Swish = run(SNIPPETS[1])["Swish"]

    class Forgetful(Swish):
        def backpropagate(self, delta):
            return delta * self._saved[1]

    with pytest.raises(tnn.GradientError):  # so the silence of the snippet says something
        tnn.check_gradients(Forgetful(), (8, 5))


@pytest.mark.parametrize("ending", ["python -m tinynn", "python -m pytest"])
def test_the_commands_stand_on_lines_of_their_own(ending):
    # .ci/run takes them from here
    assert len(re.findall(rf"^pip install .* && {ending}$", README, re.MULTILINE)) == 1


def test_the_command_above_the_snippets_installs_what_they_need():
    (command,) = re.findall(r"^pip install (.*) && python -m tinynn$", README, re.MULTILINE)
    assert "plot" in command  # history.plot() draws


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_to_files(page):
    in_repository = re.compile(
        rf"({re.escape(URLS['Source'])}/blob/main/|"
        rf"{re.escape(URLS['Source'].replace('github', 'raw.githubusercontent'))}/main/)"
    )
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text("utf-8"))
    links = [in_repository.sub("", link) for link in links]
    assert all((ROOT / link).exists() for link in links if not link.startswith("https://"))


def test_links_of_the_readme_lead_somewhere_from_pypi_too():
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert len(links) > 15
    assert all(link.startswith("https://") for link in links)
    assert URLS["Documentation"] in links


def test_what_is_mentioned_in_passing_is_there():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"
    ]
    (listed,) = re.findall(r"^The extras are (.*?)\.$", README, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`(\w+)`", listed)) <= set(extras)
    for name in re.findall(r"`tnn\.(\w+)`", README):
        assert name in tnn.__all__
    assert "compile" in inspect.signature(tnn.fit).parameters
    (count,) = re.findall(r"(\d+)\s+exercises", README)
    assert len(exercises()) == int(count)


# ---- the figures, where they come quickly --------------------------------------------------------


def test_iris_as_in_the_table():
    result = runpy.run_path(str(ROOT / "benchmarks" / "accuracy.py"))["iris"](seed=3)
    assert result.train_loss <= 0.077
    assert result.validation_loss <= 0.237
    assert result.validation_accuracy >= 0.93


def test_each_figure_has_its_command():
    commands = re.findall(r"\| `python -m benchmarks\.accuracy (\w+)` \|$", README, re.MULTILINE)
    reports = runpy.run_path(str(ROOT / "benchmarks" / "accuracy.py"))["REPORTS"]
    assert sorted(commands) == sorted(reports)


def test_deep_networks_learn_by_their_ways_around():
    spirals = runpy.run_path(str(ROOT / "benchmarks" / "accuracy.py"))["spirals"]
    plain, residual = (spirals(choice, seed=0, epochs=15) for choice in (False, True))
    assert plain < 0.8
    assert residual > 0.95
