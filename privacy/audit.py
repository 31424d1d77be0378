"""``consilium-audit``: check a site's book without trusting the site or the coordinator.

Everything is computed again from the bytes: hashes, signatures, what each event costs, what that leaves of each
grant. The file is only read. Exit codes: 0 the book holds, 2 the command was written wrongly, 26 the book cannot
be read or is not to be believed (the sentence names the first wrong entry).
"""

from pathlib import Path
from typing import Final, NoReturn

import click

from privacy.budget import Budget
from privacy.console import print_json, run
from privacy.document import Document
from privacy.errors import Error, LedgerError
from privacy.keys import PublicKey
from privacy.ledger import Book, verify_export, verify_file

_SQLITE: Final = b"SQLite format 3\0"
_UNCOMPARED: Final = "key from the ledger itself: compare it with what the site gave you"


class Verified(Document):
    """What ``verify`` found to hold. ``key_given`` says whether the key came from somewhere else."""

    file: str
    form: str
    site: str
    key: str
    key_given: bool
    entries: int
    head: str
    last_entry: str
    unsettled_rounds: int
    populations: tuple[Budget, ...]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Check a hospital's privacy ledger offline, trusting nobody."""


@cli.command()
@click.argument("ledger", type=click.Path(path_type=Path))
@click.option("--key", "key_text", metavar="PUBLICKEY", help="The site's public key, as the site gave it to you.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def verify(ledger: Path, key_text: str | None, as_json: bool) -> None:
    """Check LEDGER, a site's ledger.sqlite or an export of it, and print every population's budget.

    Recomputes every hash, signature, charge and budget, and names the first entry that is wrong.
    """
    key = None if key_text is None else _given_key(key_text)
    found = check(ledger, key)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    click.echo("\n".join(_report(found)))


def check(path: Path, key: PublicKey | None) -> Verified:
    """Verify the book in ``path``, whichever form it has.

    Raises:
        LedgerError: it cannot be read, or an entry is wrong (named).
    """
    form = "sqlite" if _first_bytes(path) == _SQLITE else "export"
    book = verify_file(path, key) if form == "sqlite" else verify_export(path, key)
    return _verified(path, form, book, key is not None)


def main() -> NoReturn:
    """The console script."""
    run(cli, "consilium-audit")


def _given_key(text: str) -> PublicKey:
    try:
        return PublicKey.from_text(text)
    except Error as error:
        raise click.BadParameter(str(error), param_hint="--key") from None


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE))
    except OSError as error:
        raise LedgerError(f"{path}: cannot be read: {error.strerror}") from None


def _verified(path: Path, form: str, book: Book, key_given: bool) -> Verified:
    return Verified(
        file=str(path),
        form=form,
        site=book.site,
        key=book.key.text,
        key_given=key_given,
        entries=book.head.number,
        head=book.head.hash,
        last_entry=book.time,
        unsettled_rounds=len(book.unsettled),
        populations=tuple(book.budgets()),
    )


def _report(found: Verified) -> list[str]:
    lines = [
        f"site         {found.site}",
        f"key          {found.key} ({'as given' if found.key_given else _UNCOMPARED})",
        f"complete     up to entry {found.entries}, written at {found.last_entry}",
        f"head         {found.head}",
    ]
    if found.form == "sqlite":
        lines.append(
            "tail         a file cannot show that later entries were removed: compare the head, or an export"
        )
    if found.unsettled_rounds:
        lines.append(f"unsettled    rounds reserved and not settled, counted in full: {found.unsettled_rounds}")
    for budget in found.populations:
        lines += ["", *_population(budget)]
    return lines


def _population(budget: Budget) -> list[str]:
    lines = [f"population   {budget.population}"]
    if budget.epsilon_granted is None:
        lines.append("  granted    nothing")
    else:
        lines.append(
            f"  granted    epsilon {budget.epsilon_granted:g}, delta {budget.delta:g}, kept at order {budget.order}"
        )
    if budget.epsilon_spent is None:
        lines.append("  spent      without bound: trained on without privacy, no epsilon describes these patients")
    else:
        lines.append(f"  spent      {budget.epsilon_spent:.4f}")
        lines.append(f"  set aside  {budget.epsilon_set_aside:.4f}")
        lines.append(f"  left       {budget.epsilon_left:.4f}")
    if not budget.held_out_protected:
        lines.append("  held out   test patients: not protected (their totals left without noise)")
    lines.append(f"  studies    {budget.studies}")
    return lines
