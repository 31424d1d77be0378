"""Read a CLS file: the class of each sample of a GCT file, in its order.

Source: Broad Institute, the CLS format for categorical classes. Three lines: numbers of samples and classes and a 1;
``#`` and the names of the classes; the class of each sample, by name or by number from 0.
"""

from pathlib import Path
from typing import NamedTuple

from client.data.adapters.lines import open_lines
from privacy.errors import DataError


class Classes(NamedTuple):
    """The class of each sample, and the file's SHA-256."""

    words: list[str]
    sha256: str


def read_classes(path: Path) -> Classes:
    """Read the CLS file ``path``; a class that is given by its number becomes its name.

    Raises:
        DataUnavailableError: it cannot be read now.
        DataError: it is no such file.
    """
    with open_lines(path) as file:
        lines = [line for _, line in file.read_lines() if line.strip()]
        if len(lines) != 3:
            raise DataError(f"expected the three lines of a CLS file, got {len(lines)}")
        head, names, words = lines[0].split(), lines[1].split(), lines[2].split()
        if names[:1] == ["#numeric"] or lines[0].strip() == "#numeric":
            raise DataError("holds numbers of a continuous phenotype; give them as a table")
        names = names[1:] if names[:1] == ["#"] else [names[0].removeprefix("#"), *names[1:]]
        if head[:2] != [str(len(words)), str(len(names))]:
            raise DataError(
                f"expected {' '.join(head[:2])} samples and classes, as its first line says, got {len(words)} and "
                f"{len(names)}"
            )
        numbers = {str(number): name for number, name in enumerate(names)}
        if all(word in numbers for word in words) and not set(words) <= set(names):
            words = [numbers[word] for word in words]
        elif strange := len([word for word in words if word not in names]):
            # names may differ from the words of the third line, which count by first appearance; that is a guess
            raise DataError(f"{strange} samples have a class that its second line does not name")
        return Classes(words, file.sha256)
