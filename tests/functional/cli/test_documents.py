"""`tenantry docs`: files and folders become documents, and bad ones are named."""

from tests.functional.cli.command import Command

_PAGE = "# Refunds\n\nThe refund period is 45 days.\n"


def test_a_folder_is_stored_once_and_found_listed_and_deleted(tenantry: Command) -> None:
    tenantry.file("pages/refunds.md", _PAGE)
    tenantry.file("pages/deep/shipping.txt", "Parcels leave on Tuesdays.")
    tenantry.file("pages/picture.png", b"\x89PNG")
    added = tenantry("docs add pages")
    assert added.status == 0, added.err
    assert {key: added.lines()[-1][key] for key in ("created", "unchanged", "refused")} == {
        "created": 2,
        "unchanged": 0,
        "refused": 0,
    }
    assert tenantry("docs add pages").lines()[-1]["unchanged"] == 2
    tenantry.file("pages/refunds.md", _PAGE.replace("45", "30"))
    assert tenantry("docs add pages").lines()[-1]["updated"] == 1
    assert {line["document"] for line in tenantry("docs list").lines()} == {"refunds.md", "deep/shipping.txt"}
    assert tenantry("docs search 'refund period' --limit 1").json()["document"] == "refunds.md"
    assert tenantry("docs delete deep/shipping.txt").status == 0
    gone = tenantry("docs delete deep/shipping.txt")
    assert gone.status == 1 and "deep/shipping.txt" in gone.err
    assert [line["document"] for line in tenantry("docs list").lines()] == ["refunds.md"]


def test_files_of_one_name_in_two_folders_stay_two_documents(tenantry: Command) -> None:
    tenantry.file("pages/a/index.md", _PAGE)
    tenantry.file("pages/b/index.md", _PAGE)
    assert tenantry("docs add pages").lines()[-1]["created"] == 2
    assert {line["document"] for line in tenantry("docs list").lines()} == {"a/index.md", "b/index.md"}
    apart = tenantry("docs add pages/a pages/b")
    assert apart.status == 1 and "index.md" in apart.err
    assert len(tenantry("docs list").lines()) == 2


def test_collections_are_apart(tenantry: Command) -> None:
    tenantry.file("refunds.md", _PAGE)
    tenantry("docs add refunds.md --collection manuals")
    assert [line["document"] for line in tenantry("docs list --collection manuals").lines()] == ["refunds.md"]
    assert tenantry("docs list --collection others").lines() == []
    assert tenantry("docs delete refunds.md").status == 1
    assert tenantry("docs delete refunds.md --collection manuals").status == 0


def test_progress_is_shown_on_a_terminal(tenantry: Command) -> None:
    for number in range(3):
        tenantry.file(f"pages/{number}.md", _PAGE)
    shown = tenantry.on_terminal("docs add pages")
    assert shown.status == 0, shown
    assert "Storing" in shown.out and "100%" in shown.out and "created 3" in shown.out
    listed = tenantry.on_terminal("docs list")
    assert "document" in listed.out and "2.md" in listed.out and "{" not in listed.out


def test_a_refused_document_is_named_with_field_and_reason_and_the_others_are_stored(tenantry: Command) -> None:
    tenantry.file("pages/1-empty.md", b"")
    tenantry.file("pages/2-latin.md", "Rückgabe".encode("latin-1"))
    tenantry.file("pages/3-good.md", _PAGE)
    added = tenantry("docs add pages")
    assert added.status == 1
    refused = {line["document"]: line for line in added.lines() if line.get("field")}
    assert set(refused) == {"1-empty.md", "2-latin.md"}
    assert all(line["field"] == "text" and line["description"] for line in refused.values())
    assert (added.lines()[-1]["created"], added.lines()[-1]["refused"]) == (1, 2)
    shown = tenantry.on_terminal("docs add pages")
    assert shown.status == 1 and "1-empty.md" in shown.out and "text" in shown.out and "refused 2" in shown.out


def test_a_file_of_32_mb_is_refused_before_it_is_sent(tenantry: Command) -> None:
    tenantry.file("pages/good.md", _PAGE)
    tenantry.file("pages/large.md", b"a" * 32 * 1024 * 1024)
    added = tenantry("docs add pages")
    assert added.status == 1 and "large.md" in added.err and "3 MiB" in added.err
    nowhere = tenantry("docs add pages --address 127.0.0.1:1")
    assert "large.md" in nowhere.err


def test_paths_that_cannot_be_read_are_said(tenantry: Command) -> None:
    assert "nothing.md" in tenantry("docs add nothing.md").err
    (tenantry.folder / "loop.md").symlink_to("loop.md")
    assert "loop.md" in tenantry("docs add loop.md").err
    (tenantry.folder / "empty").mkdir()
    assert "empty" in tenantry("docs add empty").err


def test_text_that_looks_like_markup_or_commands_a_terminal_is_shown_as_text(tenantry: Command) -> None:
    tenantry.file("a[bold].md", "# [/red] heading\n\nRefunds \x1b]0;owned\x07 in [bold]45[/bold] days :smile:.\n")
    assert tenantry("docs add", "a[bold].md").status == 0
    shown = tenantry.on_terminal("docs search refunds")
    assert shown.status == 0, shown
    assert "[bold]45[/bold]" in shown.out and ":smile:" in shown.out
    assert "\x1b]0;" not in shown.out and "\x07" not in shown.out
    assert "a[bold].md" in tenantry.on_terminal("docs list").out
