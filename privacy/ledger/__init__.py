"""The site's ledger: what was granted, spent, refused and released, in a signed chain of entries.

================= ==================================================================================================
``entries``       the kinds of entries, and their bytes
``signing``       the signature of an entry
``rules``         the rules between entries, and the error that names a broken one
``state``         the state that entries add up to; it verifies each entry against all before it
``approvals``     the part of the state about approvals of terms
``totals``        what every population's account held after each entry
``recovery``      how the totals of a lost ledger are taken over
``replay``        a whole ledger verified, from its first entry
``check_ahead``   entries read ahead, whose signatures are checked on all cores meanwhile
``ledger``        the site's interface: it appends entries
``transaction``   one append, and the creation of a ledger, step by step
``database``      the SQLite file
``export``        the ledger as signed JSON lines for an auditor, with ``papers`` of studies
``launches``      how often a study was launched, and what all launches cost
``signed_head``   the head of a ledger as others see it, and the signature of a witness
``testimony``     what a coordinator has seen, as signed JSON lines for an auditor
================= ==================================================================================================

The format is in ``docs/ledger.md``. A site grants a budget and reads what is left of it:

>>> import tempfile
>>> from pathlib import Path
>>> from privacy.keys import SigningKey
>>> folder = tempfile.TemporaryDirectory()
>>> ledger = Ledger.create(Path(folder.name) / "ledger.sqlite", SigningKey.generate(), site="north")
>>> ledger.register_population(
...     "breast-2026", data_digest="1" * 64, patients=160, records_per_patient=1,
...     patients_commitment="2" * 64, contract="3" * 64, patient_column="id",
... )
>>> ledger.grant("breast-2026", epsilon=3.0, delta=0.001, order=8, by="Ada")
>>> budget = ledger.read_state().find_account("breast-2026").budget
>>> budget.epsilon_granted, budget.epsilon_spent, budget.epsilon_left
(3.0, 0.0, 3.0)
>>> ledger.head.number
3
>>> ledger.close()
>>> folder.cleanup()
"""

from privacy.ledger.database import verify_file as verify_file
from privacy.ledger.entries import Entry as Entry
from privacy.ledger.entries import Population as Population
from privacy.ledger.export import verify_export as verify_export
from privacy.ledger.ledger import Ledger as Ledger
from privacy.ledger.signing import Head as Head
from privacy.ledger.state import LedgerState as LedgerState
