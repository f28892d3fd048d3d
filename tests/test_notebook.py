"""docs/tutorial.ipynb has the cells of docs/notebook.md, and they run."""

import json

import pytest

from docs.make_notebook import NOTEBOOK, PAGE, cells_of, execute, new_notebook


def text_of(cell):
    """All that a cell shows as text."""
    return "".join(
        output.get("text", "") or output.get("data", {}).get("text/plain", "")
        for output in cell["outputs"]
    )


def test_the_notebook_has_the_cells_of_the_page_with_what_they_show():
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert [(c["cell_type"], "".join(c["source"])) for c in cells] == cells_of(PAGE.read_text())
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) == 10
    assert [cell["execution_count"] for cell in code] == list(range(1, 11))
    assert all("/tmp/" not in json.dumps(cell) for cell in code)


def test_cells_are_told_by_their_fences():
    page = "# A\n\n```python\na = 1\n```\n```bash\nls\n```\n\n```python\nb\n```\n"
    assert cells_of(page) == [
        ("markdown", "# A"),
        ("code", "a = 1"),
        ("markdown", "```bash\nls\n```"),
        ("code", "b"),
    ]


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    notebook = new_notebook(PAGE.read_text())
    execute(notebook, tmp_path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs for cell in code)
    hurt = [line for line in text_of(code[7]).splitlines() if "hurt" in line]
    assert [line.split()[0] for line in hurt] == ["contrary"]
    assert "music no. " in text_of(code[5])  # the titles of the frame of items
    assert (tmp_path / "runs/notebook/report.html").exists()
