"""Replace the identity key of a site whose key was, or may have been, seen by others.

Rules:

* the steps are a list, each durable before the next. After an interruption the same command is run again and comes
  to the same end;
* the old key signs the change in the ledger, and the new one the ledger's head: it stays one ledger;
* until all is done the site does nothing else (``SiteFolder.load_identity`` refuses);
* the node key and the TLS key lay beside the old key: they are made anew too;
* the coordinator admitted the old keys, and peers have pinned the identity: people must give the new ones to both.
"""

from collections.abc import Callable

from client.site.folder import SiteFolder
from privacy.errors import LedgerError
from privacy.files import move_file
from privacy.keys import SigningKey, generate_node_key
from privacy.ledger import Ledger


class Rotation:
    """One change of a site's identity key: the steps that the command takes, in this order."""

    def __init__(self, home: SiteFolder) -> None:
        self._home = home

    @property
    def steps(self) -> tuple[Callable[[], None], ...]:
        """The steps, in their order."""
        return (
            self.make_key,
            self.change_ledger_key,
            self.forget_admission,
            self.replace_node_key,
            self.replace_key,
        )

    @property
    def interrupted(self) -> bool:
        """Whether a change was begun and not finished."""
        return self._home.next_identity_path.exists()

    def make_key(self) -> None:
        """Create a new key beside the old one; its file is whole or absent."""
        path = self._home.next_identity_path
        if path.exists():
            return
        draft = path.with_name(f"{path.name}.draft")
        draft.unlink(missing_ok=True)
        SigningKey.generate().save(draft)
        move_file(draft, path)

    def change_ledger_key(self) -> None:
        """Let the new key sign the ledger from now on, unless it does already."""
        new = SigningKey.load(self._home.next_identity_path)
        try:
            Ledger.open(self._home.ledger_path, new).close()
        except LedgerError:  # the old key still signs it; a damaged ledger fails below too
            with Ledger.open(self._home.ledger_path, SigningKey.load(self._home.identity_path)) as ledger:
                ledger.change_key(new)

    def forget_admission(self) -> None:
        """Remove the coordinator's admission, which is of the old key."""
        self._home.forget_admission()

    def replace_node_key(self) -> None:
        """Make a new node key, and drop the TLS key and certificate; harmless if it is done twice."""
        draft = self._home.node_key_path.with_name("node.key.draft")
        draft.unlink(missing_ok=True)
        generate_node_key(draft)
        move_file(draft, self._home.node_key_path)
        self._home.credentials.path.unlink(missing_ok=True)
        self._home.credentials.next_key.unlink(missing_ok=True)

    def replace_key(self) -> None:
        """Make the new key the identity."""
        move_file(self._home.next_identity_path, self._home.identity_path)
