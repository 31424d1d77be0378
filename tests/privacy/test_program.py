"""The digest of the code: one changed line, one more file or another name changes it, and nothing else does."""

import shutil
from pathlib import Path

from privacy.program import PACKAGES, compute_code_digest, read_program


def copied(repository: Path, tmp_path: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(repository / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_copy_of_the_code_elsewhere_has_the_same_digest_until_a_line_changes(
    repository: Path, tmp_path: Path
) -> None:
    root = copied(repository, tmp_path)
    before = compute_code_digest(root)
    assert before == compute_code_digest(repository)
    (root / "privacy" / "__pycache__").mkdir()
    (root / "privacy" / "__pycache__" / "keys.pyc").write_bytes(b"x")
    assert compute_code_digest(root) == before
    path = root / "privacy" / "keys.py"
    path.write_text(path.read_text() + "\n")
    changed = compute_code_digest(root)
    assert changed != before
    path.rename(root / "privacy" / "keyz.py")
    assert compute_code_digest(root) not in (before, changed)


def test_program_is_read_once(repository: Path) -> None:
    assert read_program() is read_program()
    assert read_program().short == f"{read_program().version} ({read_program().code[:12]})"
