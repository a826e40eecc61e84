from __future__ import annotations

from pathlib import Path

import pytest

from claimed_med import generate
from claimed_med.errors import ContractError, OutputError


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "README.md").write_text(f"# x\n{generate.BEGIN}OUTDATED\n{generate.END}after\n")
    generate.main(["--root", str(tmp_path)])
    return tmp_path


def test_generating_twice_changes_nothing(checkout, capsys):
    generate.main(["--root", str(checkout)])
    assert capsys.readouterr().out.splitlines()[-1].startswith("0 of ")
    assert generate.main(["--root", str(checkout), "--check"]) == 0


def test_text_around_the_table_stays(checkout):
    text = (checkout / "README.md").read_text()
    assert text.startswith("# x\n")
    assert text.endswith("after\n")
    assert "OUTDATED" not in text


def test_edited_file_is_named(checkout):
    (checkout / "docs/components/index.md").write_text("mine")
    with pytest.raises(OutputError, match=r"docs/components/index\.md"):
        generate.main(["--root", str(checkout), "--check"])


def test_file_of_a_component_that_is_gone_is_named_and_removed(checkout):
    gone = checkout / "components/metric/gone/component.yaml"
    gone.parent.mkdir(parents=True)
    gone.write_text("name: gone")
    with pytest.raises(OutputError, match="gone"):
        generate.main(["--root", str(checkout), "--check"])
    generate.main(["--root", str(checkout)])
    assert not gone.exists()


def test_readme_without_a_place_for_the_table_is_refused(tmp_path):
    (tmp_path / "README.md").write_text("# x\n")
    with pytest.raises(ContractError, match="no place for the table"):
        generate.files(Path(tmp_path))
