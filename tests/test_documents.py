"""Documents: README stays short, links and citations resolve, and tables hold the figures that were measured."""

import ast
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from cilf import __version__
from cilf.checkpoint import BUNDLED, REPORT
from tests.benchmarks import results
from train.__main__ import parser as train_parser
from train.release import models_table
from train.studies import report

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# "METHOD 7, 8.4, 8.5 and 9", "METHOD 8.4 (error ensemble) and 8.5": numbers, each with a remark or without.
CITATION = re.compile(
    r"METHOD\s+(?:#\s+)?(\d+(?:\.\d+)?(?:\s*\([^)]*\))?(?:(?:,|\s+and)\s+\d+(?:\.\d+)?(?:\s*\([^)]*\))?)*)"
)
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def tracked(*patterns: str) -> list[Path]:
    """Files of the checkout that git follows or would."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


DOCUMENTS = [path.relative_to(ROOT).as_posix() for path in tracked("*.md")]
CODE = tracked("*.py", "*.toml", "*.js")


def prose(text: str) -> str:
    """A Markdown document without its code blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def headings(text: str) -> list[str]:
    return re.findall(r"^#+ (.+)$", prose(text), flags=re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The names that GitHub gives headings, so that links can lead to them."""
    names = (re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings(text))
    return {*names, *re.findall(r'<a (?:id|name)="([^"]+)"', text)}


def cited(text: str) -> set[str]:
    """Sections of METHOD that a file names."""
    remarks = re.compile(r"\([^)]*\)")
    return {
        number for numbers in CITATION.findall(text) for number in NUMBER.findall(remarks.sub("", numbers))
    }


def readme() -> str:
    """README without the settings of a Space, which a tree that was pushed to one by hand has on top."""
    return re.sub(r"\A---\n.*?\n---\n\s*", "", README.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("part", ["whole blocks", "filter and attention alone"])
def test_what_was_measured_grows_as_method_says(part: str) -> None:
    """METHOD 4.3, by the stored figures: FourierFormer's time nearly linearly with the positions, attention's nearly
    with their square."""
    stored = json.loads((ROOT / "tests/benchmarks/results.json").read_text(encoding="utf-8"))
    rows = stored[f"FourierFormer against attention: {part}"]["rows"]
    [exponents] = [row for name, row in rows.items() if name.startswith("exponent")]
    assert exponents["FourierFormer, ms"] < 1.3
    assert exponents["attention, explicit, ms"] > 1.6


def test_the_table_of_limits_has_them_all() -> None:
    document = (ROOT / "cilf/demo/README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|[^|]+\|[^|]+\| (.*`CILF_.*) \|$", document, flags=re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`CILF_(\w+)`", row)]
    code = ast.parse((ROOT / "cilf/demo/limits.py").read_text(encoding="utf-8"))
    calls = [
        node for node in ast.walk(code) if isinstance(node, ast.Call) and ast.unparse(node.func) == "limit"
    ]
    read = [ast.literal_eval(call.args[0]) for call in calls]
    assert sorted(named) == sorted([*read, "CLIENT_HEADER", "QUEUE_SIZE"])


class TestReadme:
    def test_is_short_enough_to_be_read_to_the_end(self) -> None:
        text = readme()
        assert len(text.splitlines()) <= 200
        assert len(text.split()) <= 1500
        assert len(re.findall(r"\d+\.\d+", text)) <= 40

    def test_lines_are_wrapped(self) -> None:
        lines = readme().splitlines()
        assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []

    def test_the_tree_names_what_is_there(self) -> None:
        [tree] = re.findall(r"^```\n(app\.py .*?)^```", readme(), flags=re.MULTILINE | re.DOTALL)
        folder = ROOT
        for line in tree.splitlines():
            name, _, remark = line.strip().partition(" ")
            if not line.startswith(" "):
                folder = ROOT / name
            path = folder / name if line.startswith(" ") else folder
            assert path.is_dir() if name.endswith("/") else path.is_file(), line
            assert remark, line

    def test_models_table_holds_what_was_measured(self) -> None:
        assert f"<!-- models -->\n{models_table.table()}\n<!-- /models -->" in readme()

    @pytest.mark.parametrize("name", BUNDLED)
    def test_models_table_agrees_with_the_report(self, name: str) -> None:
        folder = ROOT / "checkpoints" / name
        result = json.loads((folder / REPORT).read_text(encoding="utf-8"))["all"]
        [row] = [line for line in models_table.table().splitlines() if line.startswith(f"| [`{name}`]")]
        assert f"| {result['mae']:.2f} | {100 * result['cs5']:.1f}% |" in row
        assert f"{100 * result['interval']['coverage']:.1f}%" in row


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_anchors_resolve(document: str) -> None:
    path = ROOT / document
    text = path.read_text(encoding="utf-8")
    broken = []
    for target in LINK.findall(re.sub(r"`[^`\n]*`", "", prose(text))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            broken.append(target)
    assert broken == []


def code_blocks(text: str) -> str:
    """The code blocks of a Markdown document, with continued lines as one."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return "\n".join(blocks).replace("\\\n", " ")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_of_training_are_those_of_the_command_line(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for command in re.findall(r"^python -m train (.+)$", code_blocks(text), flags=re.MULTILINE):
        if "…" not in command:
            assert train_parser().parse_args(shlex.split(command, comments=True)).run
    usage = train_parser().format_help()
    for name in re.findall(r"python -m train ([a-z-]+)", text):
        assert re.search(rf"^    {name}\b", usage, flags=re.MULTILINE), name


def test_every_citation_of_the_method_has_its_section() -> None:
    method = (ROOT / "cilf" / "METHOD.md").read_text(encoding="utf-8")
    sections = {
        match[1] for heading in headings(method) if (match := re.match(r"(\d+(?:\.\d+)?)\.? ", heading))
    }
    citations = {
        path.relative_to(ROOT).as_posix(): numbers
        for path in CODE
        if (numbers := cited(path.read_text(encoding="utf-8")))
    }
    assert citations
    assert {path: numbers - sections for path, numbers in citations.items() if numbers - sections} == {}


def test_a_citation_may_name_several_sections() -> None:
    assert cited("METHOD 7, 8.4, 8.5 and 9.") == {"7", "8.4", "8.5", "9"}
    assert cited("METHOD 8.4 (error ensemble) and 8.5 (guarded loop)") == {"8.4", "8.5"}
    assert cited("see METHOD\n# 11 (2 sets)") == {"11"}


def test_the_benchmarks_tables_hold_the_recorded_figures() -> None:
    text = (results.FOLDER / results.README).read_text(encoding="utf-8")
    assert f"<!-- results -->\n{results.tables(results.read())}\n<!-- /results -->" in text


def test_benchmarks_record_their_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / results.README).write_text("# Speed\n\n<!-- results -->\n<!-- /results -->\nThe end.\n")
    for name, milliseconds in (("first", 11.848), ("second", 1249.0)):
        results.record(
            "one crop", {name: {"ms": milliseconds}}, command="pytest", method="Medians.", folder=tmp_path
        )
    text = (tmp_path / results.README).read_text()
    assert "| first | 11.8 |\n| second | 1,249 |\n<!-- /results -->\nThe end." in text
    assert "| second | 1,249 |" in capsys.readouterr().out


def test_the_studies_hold_the_stored_figures() -> None:
    folder = ROOT / "checkpoints" / "compact"
    assert (folder / report.STUDIES).read_text(encoding="utf-8") == report.studies(folder)


def test_no_document_asks_for_a_picture_of_a_person() -> None:
    """Issue templates tell everybody never to attach one."""
    templates = [path for path in tracked(".github/ISSUE_TEMPLATE/*") if path.name != "config.yml"]
    assert templates
    for template in templates:
        assert "never attach a photo of a person" in template.read_text(encoding="utf-8").lower(), template


def test_biome_has_one_version() -> None:
    """Format and rules differ between versions, so schema, CI, pre-commit and instructions name the same."""
    schema = json.loads((ROOT / "biome.json").read_text(encoding="utf-8"))["$schema"]
    version = schema.split("/")[-2]
    for name in (".ci/run", ".pre-commit-config.yaml", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert set(re.findall(r"@biomejs/biome@([\d.]+\d)", text)) == {version}, name


def test_the_version_is_the_same_everywhere() -> None:
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version = {{{__version__}}}" in readme()
