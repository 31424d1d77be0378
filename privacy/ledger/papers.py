"""The papers of studies: what an export holds of each study beside the ledger, so that a reader knows its purpose.

A ledger has digests only. A paper is the launch that the site admitted, as the coordinator signed it (purpose, data,
task, terms, invited sites), and the figures of the totals that the site has opened, with their titles. The site signs
the whole paper.

Rules, each checked when an export is read:

* the ledger has admitted exactly this study under exactly these terms, whose digest is in its entry;
* the launch is signed by the key that the paper names as the coordinator's. The reader must check whether this key
  has countersigned the ledger, and so belongs to the ledger's coordinator;
* the ledger's site is among those invited;
* scores have the figures that the paper lists, and no others;
* a study has at most one paper. A missing paper proves nothing, because nothing of the ledger depends on it.

The figures are claims of the site: the ledger does not hold them. They can be compared with the papers of other
sites.
"""

from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from privacy import labels
from privacy.document import Document
from privacy.errors import LedgerError, WireError
from privacy.fields import KeyText
from privacy.keys import PublicKey
from privacy.ledger.state import LedgerState
from privacy.signed import Signed, Statement
from privacy.study.launch import Launch, SignedLaunch
from privacy.study.tasks.figures import MOST_FIGURES, FigureFacts, FigureName

MAX_PAPER_BYTES: Final = 4 << 20


class Scores(Document):
    """Figures of the shared model on the test patients of all sites of a cohort, from opened totals."""

    after_round: Annotated[int, Field(ge=0, le=10_000)]
    patients: Annotated[int, Field(ge=0, le=2**53 - 1)]
    threshold: Annotated[float, Field(ge=0, le=1)] | None
    figures: dict[FigureName, float | None] = Field(max_length=MOST_FIGURES)


class Paper(Statement):
    """What a study was about, for an auditor. Signed by the site."""

    label: ClassVar[str] = labels.STUDY_PAPER

    version: Literal[1] = 1
    launch: SignedLaunch
    coordinator: KeyText
    figures: tuple[FigureFacts, ...] = Field(default=(), max_length=MOST_FIGURES)
    scores: tuple[Scores, ...] = Field(default=(), max_length=10_000)

    @model_validator(mode="after")
    def _listed_figures(self) -> Self:
        names = {each.name for each in self.figures}
        if len(names) < len(self.figures) or any(set(each.figures) != names for each in self.scores):
            raise ValueError("figures: scores have exactly the figures that the paper lists, each once")
        return self

    @property
    def said(self) -> Launch:
        """The launch that the paper holds."""
        return self.launch.statement


SignedPaper = Signed[Paper]


def verify_paper(signed: SignedPaper, ledger_state: LedgerState) -> Paper:
    """Verify a paper against the ledger, and return it.

    Run by an auditor.

    Raises:
        LedgerError: naming the rule that it breaks.
    """
    try:
        paper = signed.verify(ledger_state.key)
    except WireError:
        raise LedgerError("the paper of a study is not signed by the ledger's key") from None
    said = paper.said
    allowed = ledger_state.find_allowance(said.study)
    if allowed is None:
        raise LedgerError(f"there is a paper of the study '{said.study}', which this ledger never admitted")
    if allowed.terms != said.terms.digest:
        raise LedgerError(
            f"the paper of '{said.study}' has the terms {said.terms.digest}, the ledger admitted {allowed.terms}"
        )
    if ledger_state.site not in said.names:
        raise LedgerError(
            f"the paper of '{said.study}' does not invite '{ledger_state.site}', whose ledger this is"
        )
    try:
        paper.launch.verify(PublicKey.from_text(paper.coordinator))
    except WireError:
        raise LedgerError(f"the launch in the paper of '{said.study}' is not signed by the key it names") from None
    return paper
