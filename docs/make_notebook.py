"""Makes docs/tutorial.ipynb of docs/notebook.md: runs its cells and keeps what they show.

python docs/make_notebook.py
"""

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import nbformat

PAGE = Path(__file__).parent / "notebook.md"
NOTEBOOK = PAGE.with_name("tutorial.ipynb")


def cells_of(page: str) -> list[tuple[str, str]]:
    """The cells of a page: `("markdown" or "code", source)`, code being its blocks of Python."""
    parts = re.split(r"^```python\n(.*?)^```\n", page, flags=re.MULTILINE | re.DOTALL)
    kinds = ("markdown", "code")
    cells = [(kinds[i % 2], part.strip()) for i, part in enumerate(parts)]
    return [(kind, source) for kind, source in cells if source]


def new_notebook(page: str) -> "nbformat.NotebookNode":
    """A notebook of a page, which has not run."""
    import nbformat

    made = nbformat.v4.new_notebook()
    made.metadata["kernelspec"] = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    for number, (kind, source) in enumerate(cells_of(page)):
        new_cell = (
            nbformat.v4.new_markdown_cell if kind == "markdown" else nbformat.v4.new_code_cell
        )
        made.cells.append(new_cell(source, id=f"cell-{number}"))
    return made


def execute(notebook: "nbformat.NotebookNode", folder: Path) -> None:
    """Runs the cells in a folder; raises `CellExecutionError` where one fails."""
    import nbclient

    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=900, resources=resources).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata.pop("execution", None)  # when each cell began and ended
            # Of libraries about themselves.
            cell.outputs = [found for found in cell.outputs if found.get("name") != "stderr"]


def main() -> None:
    """Writes the notebook."""
    import nbformat

    notebook = new_notebook(PAGE.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        execute(notebook, Path(folder))
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
