"""Another identity for a site whose key was, or may have been, seen by others.

Rules:

* the steps are a list, each durable before the next; whoever is interrupted runs the same command again and comes to
  the same end;
* the old key signs the change in the ledger, and the new one the ledger's head: one ledger, for its whole life;
* until all is done the site does nothing else (``SiteFolder.identity`` refuses);
* the coordinator admitted the old key, and peers have pinned it: both must hear of the new one from people.
"""

from collections.abc import Callable

from client.site.folder import SiteFolder
from privacy.errors import LedgerError
from privacy.files import move_file
from privacy.keys import SigningKey
from privacy.ledger import Ledger


class Rotation:
    """One change of a site's identity key: the steps that the command walks, in this order."""

    def __init__(self, home: SiteFolder) -> None:
        self._home = home

    @property
    def steps(self) -> tuple[Callable[[], None], ...]:
        """What is done, one after the other."""
        return (self.make_key, self.change_ledger_key, self.forget_admission, self.replace_key)

    @property
    def interrupted(self) -> bool:
        """Whether a change was begun and not finished."""
        return self._home.next_identity_path.exists()

    def make_key(self) -> None:
        """Put a new key beside the old one; there is one whole, or none."""
        path = self._home.next_identity_path
        if path.exists():
            return
        draft = path.with_name(f"{path.name}.draft")
        draft.unlink(missing_ok=True)
        SigningKey.generate().save(draft)
        move_file(draft, path)

    def change_ledger_key(self) -> None:
        """Have the ledger signed by the new key from now on, unless it is."""
        new = SigningKey.load(self._home.next_identity_path)
        try:
            Ledger.open(self._home.ledger_path, new).close()
        except LedgerError:  # it is the old key's, or not to be believed
            with Ledger.open(self._home.ledger_path, SigningKey.load(self._home.identity_path)) as ledger:
                ledger.change_key(new)

    def forget_admission(self) -> None:
        """Drop the coordinator's answer, which is to the old key."""
        self._home.forget_admission()

    def replace_key(self) -> None:
        """Make the new key the identity."""
        move_file(self._home.next_identity_path, self._home.identity_path)
