"""Which documents files become, before anything is sent."""

from pathlib import Path

import pytest
import typer

from tenantry.cli.documents import MAX_DOCUMENT_BYTES, files_of


def test_below_a_folder_the_path_is_the_id_so_that_equal_names_are_two_documents(tmp_path: Path) -> None:
    for name in ("a/readme.md", "b/readme.MD", "b/notes.txt", "b/picture.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert [file.document for file in files_of([tmp_path])] == ["a/readme.md", "b/notes.txt", "b/readme.MD"]


def test_two_files_that_would_be_one_document_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "readme.md").write_text(name)
    with pytest.raises(typer.Exit):
        files_of([tmp_path / "a", tmp_path / "b"])
    assert "would be one document, readme.md" in capsys.readouterr().err


def test_a_file_that_is_named_twice_is_sent_once(tmp_path: Path) -> None:
    path = tmp_path / "one.md"
    path.write_text("x")
    assert len(files_of([path, tmp_path, path])) == 1


@pytest.mark.parametrize("size", [MAX_DOCUMENT_BYTES + 1, 32 * 1024 * 1024])
def test_what_is_too_large_is_refused_before_anything_is_sent(
    size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "big.txt"
    with path.open("wb") as file:
        file.truncate(size)
    with pytest.raises(typer.Exit):
        files_of([path])
    assert "larger than a document may be" in capsys.readouterr().err


def test_nothing_to_send_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(typer.Exit):
            files_of([path])
    said = capsys.readouterr().err
    assert "there are no .md" in said and "there is no file" in said
