import re
import shutil
import subprocess
from pathlib import Path

import pytest

import tf_syncrec
from tf_syncrec.utils.version import commit, version_line

needs_git = pytest.mark.skipif(not shutil.which("git"), reason="no git")


@pytest.fixture
def checkout(tmp_path):
    """A folder with one file, committed."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "file").write_text("one")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.example", "-C", str(root)]
    for command in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *command], check=True)
    return root


def head(root: Path) -> str:
    said = subprocess.check_output(["git", "-C", str(root), "rev-parse", "HEAD"], text=True)
    return said.strip()


@needs_git
def test_a_checkout_says_its_commit_and_whether_its_files_differ(checkout):
    assert commit(checkout) == head(checkout)
    (checkout / "untracked").write_text("what a run wrote")
    assert commit(checkout) == head(checkout)
    (checkout / "file").write_text("two")
    assert commit(checkout) == head(checkout) + "-dirty"


@needs_git
def test_a_tag_is_no_commit(checkout):
    subprocess.run(["git", "-C", str(checkout), "tag", "v1"], check=True)
    assert commit(checkout) == head(checkout)


@needs_git
def test_a_repository_around_the_packages_is_somebody_elses(checkout):
    site = checkout / "venv/site-packages"
    site.mkdir(parents=True)
    assert commit(site) is None


@needs_git
def test_variables_of_a_git_hook_lead_nowhere_else(checkout, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert (
        commit(checkout)
        == subprocess.check_output(
            ["git", f"--git-dir={checkout}/.git", "rev-parse", "HEAD"], text=True
        ).strip()
    )


def test_without_git_there_is_no_commit_and_no_error(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert commit(checkout) is None


def test_a_damaged_checkout_has_no_commit(tmp_path):
    (tmp_path / ".git").write_text("gitdir: nowhere\n")
    assert commit(tmp_path) is None


def test_an_installed_package_says_what_pip_installed_it_from(tmp_path):
    info = tmp_path / "tf_syncrec-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tf_syncrec\nVersion: 1.0\n")
    assert commit(tmp_path) is None
    url = '{"url": "https://example.org/x.git", "vcs_info": {"vcs": "git", "commit_id": "%s"}}'
    (info / "direct_url.json").write_text(url % ("a" * 40))
    assert commit(tmp_path) == "a" * 40
    (info / "direct_url.json").write_text('{"url": "file:///here", "dir_info": {"editable": true}}')
    assert commit(tmp_path) is None


def test_the_line_begins_with_the_release():
    said = re.fullmatch(r"tf_syncrec (\S+)( \([0-9a-f]{40}(-dirty)?\))?", version_line())
    assert said and said[1] == tf_syncrec.__version__
