"""What the guides print runs, one block after the other, as a reader would type it."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from autolens_ml.cli import app
from autolens_ml.networks.architectures import ARCHITECTURES
from autolens_ml.training.task import TASKS
from howtolens_ml.fast import run_text

DOCS = Path(__file__).parents[2] / "docs"
GUIDES = sorted((DOCS / "guides").glob("*.md"))
PAGES = [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md")), *GUIDES]
# Blocks that a reader saves: the first line is the name.
SAVED = re.compile(r"# (\w+\.(?:py|yaml))\n")


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def example(page, folder):
    """The Python of a guide, its other files written into a folder."""
    typed = []
    for block in blocks(page, "python") + blocks(page, "yaml"):
        if saved := SAVED.match(block):
            (folder / saved[1]).write_text(block)
        else:
            typed.append(block)
    return "\n".join(typed)


HEAVY = ("extend", "find", "rim")
WITH_EXAMPLES = [
    pytest.param(page, marks=pytest.mark.heavy if page.stem in HEAVY else ())
    for page in GUIDES
    if blocks(page, "python")
]


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.stem)
@pytest.mark.filterwarnings("default")
def test_examples_run(page, tmp_path, monkeypatch):
    # A guide adds what it teaches to add.
    monkeypatch.setattr("autolens_ml.training.task.TASKS", dict(TASKS))
    monkeypatch.setattr("autolens_ml.networks.architectures.ARCHITECTURES", dict(ARCHITECTURES))
    run_text(example(page, tmp_path), page.name, tmp_path)


def parsed(words):
    """Parse the words of a command line without running it, or looking for its files."""
    command = typer.main.get_command(app)
    context = command.make_context("autolens-ml", [], resilient_parsing=True)
    while words and hasattr(command, "commands"):
        name, *words = words
        assert name in command.commands, name
        command = command.commands[name]
        context = command.make_context(name, [], parent=context, resilient_parsing=True)
    context.resilient_parsing = False
    command.make_parser(context).parse_args(words)


LINES = [
    (page, line.partition("  #")[0].strip())
    for page in PAGES
    for block in blocks(page, "bash")
    for line in block.splitlines()
    if line.startswith("autolens-ml ")
]


@pytest.mark.parametrize(("page", "line"), LINES, ids=lambda value: getattr(value, "stem", value))
def test_commands_have_the_options_that_are_printed(page, line):
    words = shlex.split(line.partition(">")[0])[1:]
    parsed(words)


def test_commands_that_are_not_there_are_noticed():
    with pytest.raises(AssertionError):
        parsed(["no-such-command"])
    with pytest.raises(Exception, match="no-such-option"):
        parsed(["find", "cutouts", "--no-such-option"])


def test_every_command_of_the_reference_is_there():
    text = (DOCS / "cli.md").read_text()
    names = set(re.findall(r"^\| `autolens-ml ([\w-]+)", text, re.MULTILINE))
    assert names == set(typer.main.get_command(app).commands)
