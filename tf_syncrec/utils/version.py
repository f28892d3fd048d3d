"""Which code this is: its release, and its commit."""

import json
import subprocess
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""Of the checkout; where the packages are installed, a folder of packages."""


def commit(root: Path = ROOT) -> str | None:
    """The commit of the code that runs.

    Args:
        root: folder that holds the packages.

    Returns:
        40 digits, followed by `-dirty` where tracked files of the checkout differ from it. Of an
        installed package, the commit that pip installed it from (`pip install git+URL`). None where
        nothing says it.
    """
    if not (root / ".git").exists():  # a surrounding checkout is somebody else's
        return _installed_commit(root)
    try:
        found = subprocess.run(
            [
                *("git", f"--git-dir={root / '.git'}", f"--work-tree={root}"),
                *("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):  # no git here, no commit yet, another owner
        return None
    return found.stdout.strip()


def _installed_commit(root: Path) -> str | None:
    """What pip wrote down (PEP 610) beside the packages in `root`."""
    for distribution in metadata.distributions(name="tf_syncrec", path=[str(root)]):
        said = json.loads(distribution.read_text("direct_url.json") or "{}")
        return said.get("vcs_info", {}).get("commit_id")
    return None


def version_line() -> str:
    """Release and commit, as `--version` prints them."""
    from tf_syncrec import __version__

    of = commit()
    return f"tf_syncrec {__version__}" + (f" ({of})" if of else "")
