"""What is built can be installed, and what is said of it in several places agrees."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

import tf_syncrec
from tf_syncrec.__main__ import COMMANDS
from tf_syncrec.cli import EXTRAS

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("data_prep", "serving", "tf_syncrec")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def run(*command, **options):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, **options)


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def names(needs):
    """The distributions of requirements like `tensorflow[and-cuda]>=2.20`."""
    return {normal(re.split(r"[^\w.-]", need)[0]) for need in needs}


def files_of_git():
    """What a clone of this state has: what git ignores has no part in a build."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    if listed.returncode:
        pytest.skip("not a checkout")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Wheel and sdist, built from a copy, so that nothing is left in the tree."""
    folder = tmp_path_factory.mktemp("build")
    for name in files_of_git():
        target = folder / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    script = "import setuptools.build_meta as b; b.build_sdist('../dist'); b.build_wheel('../dist')"
    done = run(sys.executable, "-W", "error::UserWarning", "-c", script, cwd=folder / "source")
    assert done.returncode == 0, done.stderr
    [sdist], [wheel] = (folder / "dist").glob("*.tar.gz"), (folder / "dist").glob("*.whl")
    return {"sdist": sdist, "wheel": wheel}


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """An environment with the wheel, of which Python knows nothing but that and itself."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    target = ["--python", folder / "bin/python", "install", "--no-deps", "--no-index"]
    done = run(*pip, *target, built["wheel"])
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def complete(installed):
    """The same with what the project depends on, lent by the environment of the tests."""
    [site] = installed.glob("lib/python*/site-packages")
    lent = importlib.metadata.distribution("tensorflow").locate_file("")
    (site / "lent.pth").write_text(str(lent))
    yield installed
    (site / "lent.pth").unlink()


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(built):
    wanted = {
        f"tf_syncrec/{name}" if name.startswith("configs/") else name
        for name in files_of_git()
        if Path(name).parts[0] in (*PACKAGES, "configs")
    }
    held = zipfile.ZipFile(built["wheel"]).namelist()
    assert {name for name in held if ".dist-info/" not in name} == wanted
    assert {f"{package}/py.typed" for package in PACKAGES} <= wanted
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in held)


def test_the_sdist_holds_what_builds_tests_and_documents_it(built):
    with tarfile.open(built["sdist"]) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    of_the_repository = (".git", ".gitignore")
    assert not {name for name in files_of_git() if not name.startswith(of_the_repository)} - held


def test_an_installed_package_finds_its_files(complete, tmp_path):
    script = (
        "from importlib.resources import files; from tf_syncrec.config import load, shipped; "
        "load(shipped('tiny'), []); load(shipped('amazon'), []); "
        "print(shipped('tiny'), files('data_prep') / 'py.typed')"
    )
    done = run(complete / "bin/python", "-c", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for file in done.stdout.split():
        assert Path(file).is_file() and complete in Path(file).parents


def test_the_client_needs_requests_alone(installed, tmp_path):
    wanted, lent = ["requests"], tmp_path / "lent"
    lent.mkdir()
    while wanted:  # and what pip brings along with it
        found = importlib.metadata.distribution(wanted.pop())
        wanted += names(need for need in found.requires or () if "extra ==" not in need)
        for top in {file.parts[0] for file in found.files or () if ".." not in file.parts}:
            if not (lent / top).exists():
                (lent / top).symlink_to(str(found.locate_file(top)))
    script = (
        f"import sys; sys.path.append({str(lent)!r}); from serving import client, histories; "
        "store = histories.open_histories('histories.db'); store.record('u', 'a', 1); "
        "client.Client('http://127.0.0.1:9', histories=store); print(client.__file__)"
    )
    done = run(installed / "bin/python", "-c", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert installed in Path(done.stdout.strip()).parents


# ------------------------------------------------------------------------------------- the command


def test_a_command_behaves_as_its_module(complete, tmp_path):
    options = ["--run", "nowhere"]
    python = run(complete / "bin/python", "-m", "tf_syncrec.evaluate", *options, cwd=tmp_path)
    script = run(complete / "bin/syncrec", "evaluate", *options, cwd=tmp_path)
    assert (script.returncode, script.stdout, script.stderr) == (2, "", python.stderr)
    assert python.returncode == 2
    assert re.fullmatch("error: .+\n", python.stderr)


def test_the_command_lists_its_commands_refuses_others_and_says_its_release(installed, tmp_path):
    listed = run(installed / "bin/syncrec", cwd=tmp_path)
    assert listed.returncode == 0
    assert all(f"\n  {name} " in listed.stdout for name in COMMANDS)
    refused = run(installed / "bin/syncrec", "trian", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert re.fullmatch(r"error: 'trian' is none of fit, .+\n", refused.stderr)
    alone = run(installed / "bin/syncrec", "fit", cwd=tmp_path)
    assert alone.returncode == 2
    assert re.fullmatch(r"error: syncrec fit needs \w+, which is not installed: .+\n", alone.stderr)
    version = run(installed / "bin/syncrec", "--version", cwd=tmp_path)
    assert version.stdout == f"tf_syncrec {tf_syncrec.__version__}\n", version.stderr


def test_every_command_line_has_a_name():
    modules = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        for package in PACKAGES
        for file in (*(ROOT / package).glob("*.py"), *(ROOT / package).glob("*/__main__.py"))
        if "run_command(main)" in file.read_text()
    }
    assert {module for module, _ in COMMANDS.values()} == modules


def test_a_missing_extra_is_named_in_one_line(tmp_path):
    version = tmp_path / "1/saved_model.pb"  # what can be said without the extra is said before
    version.parent.mkdir()
    version.touch()
    script = f"""if True:
        import sys
        from tf_syncrec.__main__ import main

        for module in {list(EXTRAS)}:
            kept = sys.modules.pop(module, None)
            sys.modules[module] = None  # as if it were not installed
            command = ["serve", "--export_dir", {str(tmp_path)!r}]
            if module == "optuna":
                command = ["fit", "--dataset", "synthetic", "--tune", "3"]
            try:
                main(command)
            except SystemExit as end:
                print(end.code, end="")
            sys.modules.pop(module)
            if kept:
                sys.modules[module] = kept
    """
    done = run(sys.executable, "-c", script, cwd=ROOT)
    assert done.stdout == "2" * len(EXTRAS), done.stderr
    assert done.stderr.splitlines() == [
        f"error: {module} is not installed; make setup installs it, as does "
        f'pip install "tf_syncrec[{extra}]"'
        for module, extra in EXTRAS.items()
    ]
    for module, extra in EXTRAS.items():
        assert normal(module) in names(PROJECT["optional-dependencies"][extra])


# -------------------------------------------------------------------------------- what is declared

BROUGHT = {"urllib3": "requests", "py4j": "pyspark", "mlflow": "mlflow-skinny"}
"""Distributions that are used through another one, of which they are a part, or by its name."""
ELSEWHERE = "tf_syncrec/comparison/libraries/"
"""Workers, which run in the environments of other libraries."""
UNSEEN = {"tf-keras"}
"""Needed and not imported by us, but by TensorFlow Recommenders."""


def imported():
    """Distribution → the files of the packages that import it."""
    owners = importlib.metadata.packages_distributions()
    found: dict[str, set[str]] = {}
    for file in (file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules = [node.module]
            for module in modules:
                top = module.partition(".")[0]
                if top in sys.stdlib_module_names or top in PACKAGES:
                    continue
                google = module.startswith("google.protobuf")  # one namespace, many distributions
                owner = normal("protobuf" if google else owners.get(top, [top])[0])
                found.setdefault(BROUGHT.get(owner, owner), set()).add(str(file.relative_to(ROOT)))
    return {
        owner: files
        for owner, files in found.items()
        if not all(file.startswith(ELSEWHERE) for file in files)
    }


def test_what_is_imported_is_declared_and_what_is_declared_is_imported():
    core = names(PROJECT["dependencies"])
    extras = {extra: names(needs) for extra, needs in PROJECT["optional-dependencies"].items()}
    found = imported()
    optional = extras["redis"] | extras["serving"] | extras["spark"] | extras["scann"]
    optional |= extras["tune"] | extras["mlflow"] | extras["wandb"]
    assert not set(found) - core - optional, "imported and not declared"
    assert not core - set(found) - UNSEEN, "declared and not imported"
    for name in extras["serving"] - core:
        rooms = {Path(file).parts[0] for file in found[name]}
        assert rooms == {"serving"}, f"{name}, of an extra, is imported by {found[name]}"


def test_extras_are_spelt_as_every_pip_finds_them():
    """Pip before 23.3 does not find `a_b` in metadata, where it is always `a-b`."""
    extras = list(PROJECT["optional-dependencies"])
    assert extras == [normal(extra) for extra in extras]


def test_the_release_is_the_same_everywhere():
    text = (ROOT / "CHANGELOG.md").read_text()
    newest = re.findall(r"^## \[(.+?)\] - (\d{4}-\d\d-\d\d)$", text, re.MULTILINE)[0]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], str(citation["date-released"])) == newest
    assert tf_syncrec.__version__ == newest[0]


def test_every_supported_python_is_checked_and_taken():
    said = {text.rpartition(" ")[2] for text in PROJECT["classifiers"] if ":: 3." in text}
    [checked] = re.findall(r"for version in (.+); do", (ROOT / ".ci/resolve").read_text())
    [taken] = re.findall(r"for p in (.+); do", (ROOT / "Makefile").read_text())
    assert set(checked.split()) == said
    assert {name.removeprefix("python") for name in taken.split()} == said | {"3"}
