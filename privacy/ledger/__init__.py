"""The site's ledger: what was granted, spent, refused and released, in entries that nobody can change unnoticed.

``entries`` says what a line is, ``ledger`` what must hold between lines, ``witness`` what others have seen;
``store`` is the site's hand on it, ``steps`` what that hand does, ``disk`` the file it is kept in, ``export`` what
an auditor is given, ``testimony`` what a coordinator can show. The format is in ``docs/ledger.md``.
"""

from privacy.ledger.database import verify_file as verify_file
from privacy.ledger.entries import Entry as Entry
from privacy.ledger.entries import Population as Population
from privacy.ledger.export import verify_export as verify_export
from privacy.ledger.ledger import Ledger as Ledger
from privacy.ledger.signing import Head as Head
from privacy.ledger.state import LedgerState as LedgerState
