"""The pages say what the program does: keys, commands and links are checked against it."""

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

import lesniva
from lesniva import cli, config, errors, pipeline, publish
from lesniva.conventions import Status

ROOT = Path(__file__).parents[1]
PIPELINES = ROOT / "pipelines"
PAGES = sorted(
    path
    for folder in (ROOT, ROOT / "docs", ROOT / "aoi")
    for path in folder.glob("*.md")
    # a page in the making stands beside the others under a name of its own
    if not path.name.startswith(".")
)
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]

INTERRUPTED = 130
"""What shells say of a program that Ctrl-C has ended, and ours of itself."""

SETTLED_BY_READ = {"name": "name of the file"}
"""Defaults that the schema cannot tell."""


def schema_keys(node: dict[str, Any], defs: dict[str, Any], at: str = "") -> dict[str, str]:
    """Path of each key → its default in words, through references, variants and free names."""
    if "$ref" in node:
        return schema_keys(defs[node["$ref"].rsplit("/", 1)[-1]], defs, at)
    found: dict[str, str] = {}
    for variant in (*node.get("oneOf", ()), *node.get("anyOf", ())):
        found |= schema_keys(variant, defs, at)
    kind = node.get("properties", {}).get("kind", {}).get("const")
    here = f"{at}({kind})" if kind else at
    for key, value in node.get("properties", {}).items():
        path = f"{here}.{key}" if here else key
        inner = schema_keys(value, defs, path)
        for named in value.get("patternProperties", {}).values():
            inner |= schema_keys(named, defs, f"{path}.NAME")
            inner[path] = default(key, value, node)
        inner |= schema_keys(value.get("items", {}), defs, path)
        found |= inner or {path: default(key, value, node)}
    return found


def default(key: str, value: dict[str, Any], table: dict[str, Any]) -> str:
    if key in SETTLED_BY_READ and "journey" in table["properties"]:
        return SETTLED_BY_READ[key]
    if key in table.get("required", ()):
        return "required"
    known = value["default"]
    if known is None:
        return "none"
    if isinstance(known, bool):
        return f"`{str(known).lower()}`"
    quoted = repr(list(known) if isinstance(known, list | tuple) else known).replace("'", '"')
    return f"`{quoted}`"


def page_keys(text: str) -> Iterator[tuple[str, str]]:
    """Path and default of each row of the tables, by the heading they stand under."""
    table = ""
    for line in text.splitlines():
        heading = re.match(r"## (?:`\[{1,2}([\w.]+)\]{1,2}`)?(?: with `kind = \"(\w+)\"`)?", line)
        row = re.match(r"\| `(\w+)` \| (.+?) \|", line)
        if heading:
            kind = f"({heading[2]})" if heading[2] else ""
            table = f"{heading[1]}{kind}." if heading[1] else ""
        elif row:
            yield f"{table}{row[1]}", row[2]


def test_page_of_the_pipeline_file_has_every_key_of_the_schema_with_its_default_and_no_other():
    schema = config.schema()
    told = list(page_keys((ROOT / "docs" / "pipeline-file.md").read_text(encoding="utf-8")))
    assert len(told) == len(dict(told)), "a key stands twice"
    assert dict(told) == schema_keys(schema, schema["$defs"])


def code_of(text: str) -> str:
    """What stands in fences and between backticks."""
    fenced = re.findall(r"^```.*?$(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^ {4}.*$", text, flags=re.MULTILINE)
    inline = re.findall(r"`([^`\n]+)`", text)
    return "\n".join((*fenced, *indented, *inline))


@pytest.mark.parametrize("name", NAMES)
def test_every_command_that_a_page_names_exists_with_the_options_named(name: str):
    group: Any = typer.main.get_command(cli.app)
    for line in re.findall(
        r"(?<!from )(?<![\w.-])lesniva ([a-z][^\n|;&]*)", code_of((ROOT / name).read_text())
    ):
        words = line.split()
        command = group
        while words and hasattr(command, "commands"):
            assert words[0] in command.commands, f"{name}: lesniva {line}"
            command = command.commands[words.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts}
        named = {word.split("=")[0].strip("[]") for word in words if word.startswith(("--", "[--"))}
        assert named <= options | {"--help"}, f"{name}: lesniva {line}"


@pytest.mark.parametrize("name", NAMES)
def test_every_word_for_make_that_a_page_names_is_in_the_makefile(name: str):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = re.findall(r"(?:^|\s)make ([a-z]+)\b", code_of((ROOT / name).read_text()))
    assert set(named) <= targets


def anchors(path: Path) -> set[str]:
    """Anchors of the headings, as hosting sites make them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("name", NAMES)
def test_every_relative_link_of_a_page_leads_somewhere(name: str):
    page = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{name} leads to {target}, which is not there"
        if anchor:
            assert anchor in anchors(file), f"{name} leads to {target}, whose heading is not there"


@pytest.mark.parametrize("name", NAMES)
def test_no_page_names_a_folder_of_the_machine_it_was_written_on(name: str):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.findall(r"(?:^|[\s(`\"])/(?:work|tmp|root|home/(?!USER|lesniva))\b", text)


def test_every_test_that_the_page_of_faults_names_exists():
    tests = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs" / "sources-faults.md").read_text())
    assert len(named) > 50
    assert [one for one in named if f"def {one}(" not in tests] == []


def test_page_of_the_outputs_has_every_state_of_a_pixel_with_its_number():
    text = (ROOT / "docs" / "outputs.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| (\d+) \| `(\w+)` \|", text, flags=re.MULTILINE)
    assert told == [(str(int(state)), state.name.lower()) for state in Status]


def test_page_of_the_outputs_gives_the_type_and_missing_value_that_rasters_have():
    text = (ROOT / "docs" / "outputs.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_]+)\.tif` \| (\w+) \| ([−\d]+) \|", text, flags=re.MULTILINE)
    told = {name: (dtype, int(missing.replace("−", "-"))) for name, dtype, missing in rows}
    assert len(told) >= 8
    layers = publish.LAYERS
    assert told == {name: (layers[name].dtype, layers[name].nodata) for name in told}


@pytest.mark.parametrize(
    ("name", "row"),
    [("README.md", r"(?:^|·|:) *(\d+) [a-z]"), ("docs/how-to-schedule.md", r"^\| (\d+) \|")],
)
def test_pages_list_every_exit_code_of_the_errors(name: str, row: str):
    text = (ROOT / name).read_text(encoding="utf-8")
    listed = text[text.index("Exit codes") :]
    told = {int(code) for code in re.findall(row, listed, flags=re.MULTILINE)}
    kinds = [errors.LesnivaError, *errors.LesnivaError.__subclasses__()]
    known = {kind.exit_code for kind in kinds}
    assert told == known | {errors.DONE, errors.PARTIAL, INTERRUPTED}


def test_map_of_the_house_names_every_room_and_no_other():
    rooms = {
        path.stem
        for path in Path(str(lesniva.__file__)).parent.iterdir()
        if not path.name.startswith(("_", "."))
        and path.suffix in ("", ".py")
        and path.name != "share"
    }
    drawing = str(lesniva.__doc__).split("::", 1)[1].split("Importing", 1)[0]
    rows = re.findall(r"^    ([a-z]+(?:, [a-z]+)*) {2,}\S", drawing, flags=re.MULTILINE)
    assert {room for row in rows for room in row.split(", ")} == rooms


@pytest.mark.parametrize("name", NAMES)
def test_every_example_in_python_compiles_and_imports_what_is_there(name: str):
    text = (ROOT / name).read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        for step in ast.parse(block).body:
            if isinstance(step, ast.ImportFrom) and str(step.module).startswith("lesniva"):
                for alias in step.names:
                    room = importlib.import_module(str(step.module))
                    if not hasattr(room, alias.name):
                        importlib.import_module(f"{step.module}.{alias.name}")


WHOLE = PIPELINES / "lipetsk-forest-earth-search.toml"
"""What parts of a pipeline file in the pages are tried in."""


@pytest.mark.parametrize("name", NAMES)
def test_every_example_in_toml_is_a_pipeline_file_or_tables_that_fit_into_one(name: str, tmp_path):
    text = (ROOT / name).read_text(encoding="utf-8")
    for example in re.findall(r"^```toml\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        whole = WHOLE.read_text(encoding="utf-8")
        for table in re.findall(r"^\[\w+\]$", example, flags=re.MULTILINE):
            whole = re.sub(rf"^{re.escape(table)}\n(?:(?!\[).*\n)*", "", whole, flags=re.MULTILINE)
        file = tmp_path / "example.toml"
        file.write_text(example if "journey" in tomllib.loads(example) else whole + example)
        config.read(file)


@pytest.mark.parametrize("file", sorted(PIPELINES.glob("*.toml")), ids=lambda file: file.name)
def test_every_pipeline_file_of_the_house_is_one(file: Path):
    assert config.read(file).name == file.stem


@pytest.mark.parametrize("file", sorted(PIPELINES.glob("lipetsk-*.toml")), ids=lambda f: f.name)
def test_pipeline_files_for_real_scenes_name_only_files_that_are_in_the_house(file: Path):
    pipeline.check(config.read(file))
