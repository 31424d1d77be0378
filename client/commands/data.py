"""``consilium-site data``: which files hold the patients of which population.

Rules:

* people see what would be trained before it is registered. They are asked about suspicious findings, since a
  registration stays in the ledger for good;
* the words of a mistake are shown here, at their owner's terminal, and nowhere else.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from privacy.command_line import Commands, Later, print_json, print_table, print_text, say
from privacy.errors import Error, RefusedError
from privacy.refusal_codes import RefusalCode

if TYPE_CHECKING:
    from client.data.inspection import CheckReport, Inspected, TableFinding, TableReport, TargetReport
    from client.site.folder import SiteFolder
    from privacy.study import AnyContract, Terms

_MOST_LISTED: Final = 20  # classes of a target

_DIFFERENT_FROM = click.option(
    "--different-from",
    multiple=True,
    metavar="POPULATION",
    help="Its patients are other people, though identifiers are alike; stands in the ledger. Repeat.",
)
_MAPPING = click.option(
    "--mapping", type=click.Path(path_type=Path), help="Convert the hospital's own data, as this mapping file says."
)
_POPULATION = click.option(
    "--population", help="Whose patients they are; without it, a population named like the contract."
)


_COMMANDS: Final = {
    "object": Later(
        "client.commands.objections:data_object",
        "Leave PATIENT... out of every study admitted from now on; - reads identifiers from stdin, one a line.",
    ),
    "show": Later(
        "client.commands.data_show:data_show",
        "Write a page that shows what STUDY.yaml would train on: distributions, missing values, images, what was "
        "left out.",
    ),
}


@click.group(cls=Commands, later=_COMMANDS)
def data() -> None:
    """Register tables or arrays, each a population of patients with one budget."""


@data.command("add")
@click.argument("study", metavar="STUDY.yaml", type=click.Path(path_type=Path))
@click.option("--train", type=click.Path(path_type=Path), help="CSV or .npz of the patients to learn from.")
@click.option("--test", type=click.Path(path_type=Path), help="CSV or .npz of the held-out patients.")
@_MAPPING
@_POPULATION
@_DIFFERENT_FROM
@click.option("--despite", is_flag=True, help="Register the files despite warnings, without asking.")
@click.pass_obj
def data_add(
    home: SiteFolder,
    study: Path,
    train: Path | None,
    test: Path | None,
    mapping: Path | None,
    population: str | None,
    different_from: tuple[str, ...],
    despite: bool,
) -> None:
    """Register data that keep STUDY.yaml's data contract, as patients of a population.

    Two files that keep it as they are: CSV for a contract of kind table, .npz (numpy.savez) for the others. Or the
    hospital's own data, by a mapping file: they are converted to a snapshot in the site's folder. Without a file, the
    registered mapping is used again: run this when its sources have changed.
    """
    from client.commands.data_sources import find_files, list_source_warnings, say_conversion
    from client.data.inspection import inspect_files
    from client.site.register_data import register_files, require_name
    from privacy.audit.report.formatting import format_count
    from privacy.study import read_terms

    contract = read_terms(study).data
    require_name(population or contract.name)
    files = find_files(home, contract, train, test, mapping)
    if files.report is not None:
        say_conversion(files.report)
    report = inspect_files(
        contract, files.train.resolve(), files.test.resolve(), home.open_patient_register().load_objections()
    ).report.add_findings(list_source_warnings(files.report))
    for table in (report.training, report.test):
        if table is not None:
            say(_describe_table(contract, table))
    for finding in report.findings:
        _report_finding(finding)
    report.require_no_mistakes()
    if report.warnings and not despite and not _ask_for_agreement("register the files despite the warnings?"):
        raise RefusedError(
            RefusalCode.WARNINGS,
            f"nothing was registered: {format_count(len(report.warnings), 'warning')}; mend the files, or register "
            "them despite the warnings: --despite",
        )
    registration = register_files(
        home, contract, files.train, files.test, population, different_from, files.mapping
    )
    say(
        f"registered as patients of '{registration.population}'; others will see a patient count of "
        f"{registration.public_patients}"
    )
    try:
        _remove_unused_snapshots(home)
    except Error as error:  # what was asked is done
        say(f"old snapshots were not removed: {error}")


@data.command("check")
@click.argument("study", metavar="STUDY.yaml", type=click.Path(path_type=Path))
@click.option("--train", type=click.Path(path_type=Path), help="Check this file instead of the registered one.")
@click.option("--test", type=click.Path(path_type=Path), help="Check this file instead of the registered one.")
@_MAPPING
@_POPULATION
@_DIFFERENT_FROM
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, without any word of the files.")
@click.pass_obj
def data_check(
    home: SiteFolder,
    study: Path,
    train: Path | None,
    test: Path | None,
    mapping: Path | None,
    population: str | None,
    different_from: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show what STUDY.yaml would train on, and what in the files is wrong or suspicious; nothing is registered.

    Without a file, the registered ones are looked at; if a mapping made them, also whether its sources have changed.
    """
    from client.commands.data_sources import (
        describe_failure,
        find_files_to_check,
        list_source_warnings,
        print_conversion,
    )
    from client.data.conversion.report import ConversionError
    from client.data.inspection import TableFinding, inspect_files
    from client.site.register_data import require_name
    from privacy.audit.report.formatting import format_count
    from privacy.study import read_terms

    terms = read_terms(study)
    require_name(population or terms.data.name)
    known = home.load_registry().find_nearest(terms.data)
    try:
        files, changes = find_files_to_check(home, terms.data, train, test, mapping)
    except ConversionError as error:
        _show_failure(home, describe_failure(terms.data, error), as_json)
        raise
    inspected = inspect_files(
        terms.data,
        files.train.resolve(),
        files.test.resolve(),
        home.open_patient_register().load_objections(),
    )
    of = population or (known.population if known else terms.data.name)
    refusal = _find_register_refusal(home, inspected, of, different_from)
    report = inspected.report.add_findings(
        [*list_source_warnings(files.report), *changes, *_list_policy_findings(home, terms, inspected.report, of)]
    ).model_copy(update={"conversion": files.report})
    if refusal is not None:
        report = report.add_findings([TableFinding(level="mistake", where="site", sentence=str(refusal))])
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        if files.report is not None:
            print_conversion(home, files.report, files.train.parent)
            print_text()
        _print_report(terms.data, report)
    inspected.report.require_no_mistakes()
    if refusal is not None:
        raise refusal
    asked = f"; {format_count(len(report.warnings), 'warning')}: 'data add' asks first" if report.warnings else ""
    say(
        f"both files keep the contract '{report.contract}'; the public patient count would be "
        f"{report.public_patients}{asked}"
    )


@data.command("clean")
@click.pass_obj
def data_clean(home: SiteFolder) -> None:
    """Remove the snapshots that no registration and no study in progress uses; 'data add' does so too."""
    if not _remove_unused_snapshots(home):
        say("every snapshot is in use")


def _remove_unused_snapshots(home: SiteFolder) -> int:
    """Remove what nobody uses, and say so."""
    from client.study.used_data import remove_unused_snapshots

    if removed := remove_unused_snapshots(home):
        say(f"removed {removed} {'snapshot' if removed == 1 else 'snapshots'} that nobody uses any more")
    return removed


def _show_failure(home: SiteFolder, report: CheckReport, as_json: bool) -> None:
    from client.commands.data_sources import print_conversion

    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    assert report.conversion is not None
    print_conversion(home, report.conversion, None)
    for finding in report.findings:
        print_text("\n".join(_format_finding(finding)))


def _find_register_refusal(
    home: SiteFolder, inspected: Inspected, population: str, different_from: tuple[str, ...]
) -> RefusedError | None:
    """Return the refusal if these patients cannot be patients of ``population``, else None."""
    from client.site.register_data import require_distinct_patients

    with home.open_ledger() as ledger:
        known = {name: body.patients_commitment for name, body in ledger.read_state().populations.items()}
    try:
        require_distinct_patients(inspected.patients, population, known, different_from)
        home.open_patient_register().compare(population, inspected.patients, known, different_from)
    except RefusedError as error:
        return error
    return None


def _list_policy_findings(
    home: SiteFolder, terms: Terms, report: CheckReport, population: str
) -> list[TableFinding]:
    """List why this site would refuse the study with these files, as far as known before they are registered."""
    from client.admission.rules import list_reasons_before_registration
    from client.data.inspection import TableFinding
    from client.site.registry import Registration

    if report.public_patients is None or report.training is None or report.test is None:
        return []
    prospect = Registration(
        contract=terms.data,
        population=population,
        train=report.training.file,
        test=report.test.file,
        train_sha256=report.training.sha256,
        test_sha256=report.test.sha256,
        public_patients=report.public_patients,
    )
    reasons = list_reasons_before_registration(terms, home.policy, prospect)
    return [
        TableFinding(level="note", where="site", sentence=f"would refuse the study: {reason}") for reason in reasons
    ]


def _ask_for_agreement(question: str) -> bool:
    """Ask; an interrupted question counts as no."""
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        click.echo(err=True)
        return False


def _print_report(contract: AnyContract, report: CheckReport) -> None:
    from privacy.study import TableContract

    for where, table in (("training", report.training), ("test", report.test)):
        if table is None:
            continue
        print_text(f"{where}: {_describe_table(contract, table)}")
        if isinstance(contract, TableContract) and Path(table.file).suffix != ".npz":
            _print_columns(table)
        else:
            _print_arrays(contract, table)
        print_text()
    for finding in report.findings:
        for line in _format_finding(finding):
            print_text(line)


def _print_columns(table: TableReport) -> None:
    rows = [
        (each.name, str(each.missing), str(each.below), str(each.above), "constant" if each.constant else "")
        for each in table.columns
    ]
    print_table(("column", "missing", "below the range", "above it", ""), rows)


def _print_arrays(contract: AnyContract, table: TableReport) -> None:
    from privacy.study.data.tensors import describe_tensor

    rows = list[tuple[str, ...]]()
    for each in table.columns:
        tensor = contract.find_tensor(each.name)
        assert tensor is not None
        ends = ["" if end is None else f"{end:.6g}" for end in (each.lowest, each.highest)]
        values = table.records * math.prod(tensor.shape)
        clipped = [f"{count / values:.2%}" if count else "0" for count in (each.below, each.above)]
        rows.append((each.name, describe_tensor(tensor), *ends, *clipped, "constant" if each.constant else ""))
    print_table(("array", "type", "lowest", "highest", "below the range", "above it", ""), rows)


def _report_finding(finding: TableFinding) -> None:
    for line in _format_finding(finding):
        say(line)


def _format_finding(finding: TableFinding) -> list[str]:
    named = {"training": "training file: ", "test": "test file: ", "site": "this site: ", "sources": "sources: "}
    where = named.get(finding.where, "")
    return [f"{finding.level}: {where}{finding.sentence}", *(f"    {each}" for each in finding.shown)]


def _describe_table(contract: AnyContract, table: TableReport) -> str:
    objecting = f", {table.objecting} of them object" if table.objecting else ""
    targets = [_describe_target(contract, each) for each in table.targets if each.classes]
    return "; ".join(
        [
            f"{Path(table.file).name}: {table.records} records of {table.patients} patients{objecting}",
            f"{table.used} records used, {table.dropped} dropped",
            *targets,
        ]
    )


def _describe_target(contract: AnyContract, target: TargetReport) -> str:
    from privacy.study import BinaryLabel, TableContract

    if isinstance(contract, TableContract) and isinstance(contract.label, BinaryLabel):
        negative, positive = target.classes
        return f"labels of those used: {positive} positive, {negative} negative"
    listed = ", ".join(str(count) for count in target.classes[:_MOST_LISTED])
    more = f" and {len(target.classes) - _MOST_LISTED} more" if len(target.classes) > _MOST_LISTED else ""
    what = "in classes 0, 1, ..." if target.type == "id" else "with each flag"
    return f"'{target.name}' of those used, {what}: {listed}{more}"
