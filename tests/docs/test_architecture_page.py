"""``docs/architecture.md`` is the map of the tree as it is."""

import re
import subprocess

import pytest

from tests.docs.architecture import PACKAGES, PAGE, ROOMS, files, page
from tests.docs.pages import ROOT

GENERATED = "_pb2.py"
TEXT = PAGE.read_text(encoding="utf-8")
WALKS = re.findall(r"^\d+\. .*?(?=^\d+\. |^#|\Z)", TEXT, flags=re.DOTALL | re.MULTILINE)


def test_lists_are_what_the_files_say_of_themselves() -> None:
    assert page() == TEXT, "write them anew: python -m tests.docs.architecture"


def test_every_file_is_on_the_map_once() -> None:
    known = files()
    tracked = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py" and not path.name.endswith(GENERATED)
    ]
    assert sorted(known) == sorted(tracked)


def test_every_folder_says_what_is_in_it() -> None:
    for room in ROOMS:
        assert (ROOT / room / "__init__.py").read_text(encoding="utf-8").startswith(('"""', 'r"""')), room


@pytest.mark.parametrize("walk", WALKS, ids=range(len(WALKS)))
def test_step_of_a_walk_names_what_is_there(walk: str) -> None:
    """A step names files (``room/file.py``) and functions or classes in them (``file.py: name``)."""
    paths = re.findall(r"`((?:privacy|models|client|server)/[\w/]+\.py)`", walk)
    assert paths, walk
    text = "".join((ROOT / path).read_text(encoding="utf-8") for path in paths)
    for name in re.findall(r"`(\w+)\(\)`", walk):
        assert re.search(rf"\bdef {name}\b", text), f"{name} is in none of {paths}"


def test_no_file_is_long_without_a_reason_at_its_top() -> None:
    """About 400 lines is what one subject takes; a longer file says in its docstring why it is one."""
    for path in files():
        text = (ROOT / path).read_text(encoding="utf-8")
        if len(text.splitlines()) > 420:
            assert "One file, although it is long:" in text.split('"""')[1], path


def test_map_and_tree_agree_in_a_clean_checkout() -> None:
    listed = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    no_lines = ("__init__.py", GENERATED)
    tracked = {name for name in listed.stdout.split() if name.endswith(".py") and not name.endswith(no_lines)}
    assert tracked == set(files())
