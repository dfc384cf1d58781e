"""The documentation: its examples run and print what it says, its links lead somewhere, no public name is missing."""

import contextlib
import importlib
import inspect
import io
import operator
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
FENCE = re.compile(r"(?:^<!-- not run: (?P<reason>.+?) -->\n)?^```(?P<kind>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S)
LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Example:
    """A Python block of a page; `printed` is the block that follows it with the title "Output", if any."""

    code: str
    line: int
    printed: str | None
    not_run: str | None


def examples(text: str) -> list[Example]:
    fences = list(FENCE.finditer(text))
    found = []
    for fence, following in zip(fences, [*fences[1:], None], strict=False):
        if fence["kind"].split()[:1] == ["python"]:
            has_output = following is not None and following["kind"] == 'text title="Output"'
            printed = following["text"] if following is not None and has_output else None
            found.append(Example(fence["text"], text[: fence.start("text")].count("\n"), printed, fence["reason"]))
    return found


WITH_EXAMPLES = [name for name in NAMES[1:] if examples((ROOT / name).read_text())]  # the README has its own test


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A working directory of its own, a fixed seed, and figures that need no screen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_of_a_page_run_in_order_and_print_what_it_says(name: str) -> None:
    scope: dict[str, object] = {"__name__": "example"}
    for example in examples((ROOT / name).read_text()):
        if example.not_run is not None:
            compile(example.code, name, "exec")
            continue
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile("\n" * example.line + example.code, name, "exec"), scope)
        if example.printed is not None:
            assert printed.getvalue() == example.printed


def test_only_examples_with_slow_imports_are_not_run() -> None:
    skipped = {name: e.not_run for name in NAMES for e in examples((ROOT / name).read_text()) if e.not_run}
    assert set(skipped) == {"docs/howto/trainers.md"}


def test_blocks_are_found_with_their_output_and_their_reason() -> None:
    first_block = '```python\na\n```\n\n```text title="Output"\nb\n```\n'
    text = first_block + "<!-- not run: slow -->\n```python\nc\n```\n```sh\nd\n```\n"
    first, second = examples(text)
    assert (first.code, first.line, first.printed, first.not_run) == ("a\n", 1, "b\n", None)
    assert (second.code, second.printed, second.not_run) == ("c\n", None, "slow")


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), flags=re.M)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", head.lower()).strip()) for head in heads}


@pytest.mark.parametrize("name", [*NAMES, "CONTRIBUTING.md", "CHANGELOG.md"])
def test_every_link_leads_to_a_file_and_a_heading(name: str) -> None:
    page = ROOT / name
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor and "reference/" not in link:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_has_a_text_for_those_who_cannot_see_it(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.findall(r"!\[\s*\]\(", text)
    assert not re.findall(r"<img (?![^>]*alt=\"\w)", text)


@pytest.mark.parametrize("package", ["dynpool", "dynpool.analysis", "dynpool.baselines"])
def test_the_reference_has_every_public_name_once(package: str) -> None:
    page = DOCS / "reference" / f"{package.rpartition('.')[2]}.md"
    documented = re.findall(r"^::: (.+)$", page.read_text(), flags=re.M)
    assert sorted(documented) == sorted(f"{package}.{name}" for name in importlib.import_module(package).__all__)


def test_the_page_of_departures_names_everything_that_can_be_as_published() -> None:
    package = importlib.import_module("dynpool.baselines")
    named = {name: getattr(package, name) for name in package.__all__}
    switched = {name for name, it in named.items() if callable(it) and "published" in inspect.signature(it).parameters}
    assert {"ShapeAdaptor2d", "DiffStride2d"} <= switched
    page = (DOCS / "baselines.md").read_text()
    assert not [name for name in switched if f"`{name}`" not in page]


def test_every_name_of_the_reference_exists() -> None:
    pages = [*(DOCS / "reference").glob("*.md"), DOCS / "command_line.md"]
    for full in (name for page in pages for name in re.findall(r"^::: (.+)$", page.read_text(), flags=re.M)):
        module, _, name = full.rpartition(".")
        path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
        if path.exists():  # needs another package: look without importing it
            assert re.search(rf"^(class|def) {name}\b", path.read_text(), flags=re.M), full
        else:
            assert hasattr(importlib.import_module(module), name), full


def test_every_page_is_in_the_navigation_once() -> None:
    listed = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), flags=re.M)
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


def test_every_option_of_every_command_is_on_its_page() -> None:
    from dynpool.cli.command_modules import COMMANDS, command_parser

    text = (DOCS / "command_line.md").read_text()
    sections = {part.split("\n", 1)[0].strip(): part for part in re.split(r"^## ", text, flags=re.M)[1:]}
    assert set(COMMANDS) <= set(sections)
    for command in set(COMMANDS) - {"train", "compare"}:  # whose options are the keys of a configuration
        options = {option for action in command_parser(command)._actions for option in action.option_strings}
        said = sections[command] + sections["What is printed"]
        assert not [option for option in options - {"-h", "--help"} if f"`{option}" not in said]


def test_the_configuration_of_the_first_page_is_one(tmp_path: Path) -> None:
    from dynpool.training import ComparisonConfig, load_config

    (text,) = [f["text"] for f in FENCE.finditer((DOCS / "start.md").read_text()) if f["kind"].startswith("yaml")]
    (tmp_path / "mine.yaml").write_text(text)
    config, _ = load_config(ComparisonConfig, tmp_path / "mine.yaml", ["--out", str(tmp_path)], command="compare")
    assert list(config.methods) == yaml.safe_load(text)["methods"]


def test_the_recipe_of_the_page_is_a_run_and_its_table_names_keys(tmp_path: Path) -> None:
    from dynpool.training import RunConfig, load_config

    page = (DOCS / "howto" / "recipes.md").read_text()
    (text,) = [fence["text"] for fence in FENCE.finditer(page) if fence["kind"].startswith("yaml")]
    (tmp_path / "mine.yaml").write_text(text)
    config, _ = load_config(RunConfig, tmp_path / "mine.yaml", ["--out", str(tmp_path)], command="train")
    assert config.optimizer.name == "adamw"
    keys: set[str] = set()
    for first in re.findall(r"^\| (`.*?) \|", page, re.M):
        section = ""
        for name in re.findall(r"`([\w.]+)`", first):
            section = section if name.startswith(".") else name.rpartition(".")[0]
            keys.add(f"{section}{name}" if name.startswith(".") else name)
    assert len(keys) > 20
    for key in keys:
        operator.attrgetter(key)(config)  # an AttributeError for a key that there is not


def test_the_page_of_the_gallery_is_that_of_its_script_and_has_its_pictures() -> None:
    from docs import gallery

    assert (DOCS / "gallery.md").read_text() == gallery.page()
    files = {picture.file for picture in (*gallery.MODEL, *gallery.OF_RUN, *gallery.COMPARED)}
    assert {path.name for path in gallery.OUT.iterdir()} == files
    assert sum(path.stat().st_size for path in gallery.OUT.iterdir()) < 2e6


def test_docstrings_of_the_reference_show_examples_as_code_and_roles_as_names() -> None:
    griffe = pytest.importorskip("griffe")  # of the extra docs

    from docs.griffe_docstrings import Docstrings

    source = griffe.visit("m", Path("m.py"), '"""See :func:`~m.f`.\n\nExample:\n    >>> 1\n    1\n"""')
    Docstrings().on_object(obj=source)
    assert source.docstring is not None
    text, example = source.docstring.parse("google")
    assert text.value == "See `m.f`."
    assert example.kind is griffe.DocstringSectionKind.examples
