"""Keep public weights: ``weights/SHA256.safetensors``, added by the site's own people before a study.

Rules:

* nothing is fetched when a study runs: what the terms name by its SHA-256 is here, or the study is refused;
* a file is named by its own SHA-256, which is computed when it is added and again whenever a model is built from
  it;
* only safetensors are accepted, of bounded size (``models/parameters/weights_file.py``).

The hash of the terms shows that every site has the same file. It does not show who made the file, or from which
patients (``docs/threat-model.md``).
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from models.errors import ModelError
from privacy.errors import SiteConfigError
from privacy.files import sync_folder


@dataclass(frozen=True)
class PublicWeights:
    """The folder of a site's public weights, which may be absent."""

    folder: Path

    def add(self, file: Path) -> str:
        """Copy ``file`` here and return its SHA-256; adding it again has no effect.

        Raises:
            SiteConfigError: it is no safetensors file of floating-point numbers, too large, or cannot be copied.
        """
        # imported late: it loads safetensors, without which a command that only shows a budget starts sooner
        from models.parameters.weights_file import compute_weights_digest, read_weights_shapes

        with _translate_model_errors(file):
            read_weights_shapes(file)
            digest = compute_weights_digest(file)
        if digest not in self.list_held():
            self._copy(file, digest)
        return digest

    def list_held(self) -> frozenset[str]:
        """List the SHA-256 of every file here, by its name; a file is compared with its name when it is used."""
        return frozenset(path.stem for path in self.folder.glob("[0-9a-f]*.safetensors"))

    def build_path(self, digest: str) -> Path:
        """Return the path of the file with this SHA-256."""
        return self.folder / f"{digest}.safetensors"

    def read_size(self, digest: str) -> int:
        """Return the size of a file in bytes.

        Raises:
            SiteConfigError: it is missing.
        """
        try:
            return self.build_path(digest).stat().st_size
        except OSError as error:
            raise SiteConfigError(f"{self.build_path(digest)}: cannot be read: {error.strerror}") from None

    def _copy(self, file: Path, digest: str) -> None:
        from models.parameters.weights_file import require_digest

        temporary = None
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".new-", delete=False) as copy:
                temporary = Path(copy.name)
                with file.open("rb") as source:
                    shutil.copyfileobj(source, copy)
            with _translate_model_errors(file):
                require_digest(temporary, digest)
            temporary.replace(self.build_path(digest))  # renamed only when whole and checked
        except OSError as error:
            raise SiteConfigError(f"{self.folder}: the weights cannot be copied: {error.strerror}") from None
        finally:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
        sync_folder(self.folder)


@contextmanager
def _translate_model_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except ModelError as error:
        raise SiteConfigError(f"{file}: {error}") from None
