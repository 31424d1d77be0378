"""``consilium-site predict``: apply a released model to a table or to arrays; only the release folder is needed."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from privacy.command_line import print_table, say
from privacy.process_lifetime import stop_on_signals

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from client.prediction.calibration import Calibration
    from client.prediction.predict import Predictions
    from client.prediction.release_contract import ReleaseContract


@click.command()
@click.argument("folder", metavar="RELEASE", type=click.Path(path_type=Path))
@click.argument("path", metavar="[DATA]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write to this new file, CSV or .npz by its name, not to stdout."
)
@click.option(
    "--mapping",
    type=click.Path(path_type=Path),
    help="Instead of DATA: convert the hospital's own data, as this mapping file says.",
)
@click.option("--figures", is_flag=True, help="Judge the predictions by the labels in DATA; needs --out.")
@click.option(
    "--calibrate", "labelled", type=click.Path(path_type=Path), help="Fit probabilities to this file with labels."
)
@click.option(
    "--calibration", "kept", type=click.Path(path_type=Path), help="Where --calibrate writes, and what is applied."
)
@click.option("--refine", is_flag=True, help="Also draw each outline into the edges of its image; needs --out.")
@click.option(
    "--watch",
    "watched",
    type=click.Path(path_type=Path),
    help="Predict every new file of this folder, until Ctrl-C.",
)
@click.option(
    "--certify",
    "draws",
    type=click.IntRange(1, 1_000_000),
    help="Certify each prediction from this many draws of the model's noise layer, such as 300.",
)
def predict(
    folder: Path,
    path: Path | None,
    out: Path | None,
    mapping: Path | None,
    figures: bool,
    labelled: Path | None,
    kept: Path | None,
    refine: bool,
    watched: Path | None,
    draws: int | None,
) -> None:
    """Say what the released model in RELEASE predicts for each record of DATA.

    RELEASE is a study's release folder; no site is needed. DATA is a CSV file with the columns of the study, or a .npz
    file with its arrays, and needs no label. Writes CSV: the patient, what the model predicts, and the class at the
    model's threshold, if it has one. Predictions that are images or series are written as .npz. Research output, no
    medical advice.

    Calibrated probabilities stand beside those of the model. What they were fitted to is this hospital's: the file is
    not for others.

    With --refine each mask of a segmentation is also drawn into the edges of its image, as `refined` in the file and in
    the figures: a level set with the model's mask as its prior, in which nothing is trained.

    A certificate says within which L2 distance no change of an image changes the class that is said most often under
    the model's noise; it is wrong for one image in 20 at most, over the draws. The model must have a noise layer.
    """
    from client.commands.mapped_data import open_mapped
    from client.prediction.release_contract import read_contract

    if draws is not None and (path is None or watched is not None):
        raise click.UsageError("--certify needs DATA, and no --watch")
    if mapping is not None and (path is not None or watched is not None):
        raise click.UsageError("--mapping names the data; leave out DATA and --watch")
    _require_sense(path or mapping, out, figures, labelled, kept, watched)
    if refine and (out is None or watched is not None):
        raise click.UsageError("--refine writes masks of DATA and needs --out FILE.npz; leave out --watch")
    contract = read_contract(folder)
    if refine:
        from client.prediction.refine import require_refined_task

        require_refined_task(contract)
    from client.prediction.predict import load_model

    module = load_model(folder, contract)
    calibration = _find_calibration(contract, module, labelled, kept)
    if watched is not None:
        _watch(watched, contract, module, calibration)
    elif mapping is not None:
        with open_mapped(contract.data, mapping, with_targets=figures) as records:
            _predict_once(contract, module, records, out, calibration, figures=figures, refine=refine)
    elif path is not None:
        _predict_once(contract, module, path, out, calibration, figures=figures, refine=refine, draws=draws)


def _require_sense(
    path: Path | None,
    out: Path | None,
    figures: bool,
    labelled: Path | None,
    kept: Path | None,
    watched: Path | None,
) -> None:
    if watched is not None and (path is not None or out is not None or figures):
        raise click.UsageError("--watch FOLDER takes its data from the folder; leave out DATA, --out and --figures")
    if path is None and watched is None and labelled is None:
        raise click.UsageError("name the file of the records, or --watch FOLDER, or --calibrate FILE")
    if labelled is not None and kept is None:
        raise click.UsageError("--calibrate needs the new file to write: --calibration FILE")
    if figures and (path is None or out is None):
        raise click.UsageError("--figures prints a table on stdout and needs DATA with labels, and --out")


def _find_calibration(
    contract: ReleaseContract, module: nn.Module, labelled: Path | None, kept: Path | None
) -> Calibration | None:
    """Fit a calibration and write it, or read one."""
    from client.commands.release_data import require_usable

    if kept is None:
        return None
    from client.prediction.calibration import (
        fit_calibration,
        read_calibration,
        require_calibrated_task,
        write_calibration,
    )
    from client.prediction.figures import group_labelled
    from client.prediction.predict import predict as predicted

    require_calibrated_task(contract)
    if labelled is None:
        return read_calibration(kept)
    found = predicted(contract, module, labelled, with_targets=True)
    require_usable(contract, labelled, found.mistakes)
    made = fit_calibration(contract, group_labelled(found), found.sha256)
    write_calibration(kept, made)
    helps = "" if made.loss.calibrated < made.loss.released else "; it does not help here: use the model's own"
    say(
        f"calibrated on {made.patients} patients: mean log loss {made.loss.released:.4f} as released, "
        f"{made.loss.calibrated:.4f} calibrated, on patients that were not fitted{helps}"
    )
    return made


def _predict_once(
    contract: ReleaseContract,
    module: nn.Module,
    path: Path,
    out: Path | None,
    calibration: Calibration | None,
    *,
    figures: bool,
    refine: bool,
    draws: int | None = None,
) -> None:
    from client.commands.release_data import report_counts, report_limits, require_usable, write_new
    from client.data.site_data import read_contents
    from client.prediction.predict import predict_contents
    from client.prediction.prediction_file import format_arrays, format_csv

    contents = read_contents(contract.data, path, with_targets=figures)
    found = predict_contents(contract, module, contents, keep_raw=calibration is not None, with_targets=figures)
    require_usable(contract, path, found.mistakes)
    report_counts(contract, found.suspicions, found.counts)
    shown, masks = _add_calibrated(contract, found, calibration), None
    if refine:
        from client.prediction.refine import REFINED, refine_masks

        masks = refine_masks(contract, contents, found)
        shown = replace(shown, outputs={**shown.outputs, REFINED: masks})
    if draws is not None:
        from client.prediction.certify import certify

        shown = replace(shown, outputs={**shown.outputs, **certify(contract, module, path, draws)})
    if out is not None and out.suffix == ".npz":
        data = format_arrays(shown)
        write_new(out, lambda file: file.write(data))
    else:
        text = format_csv(contract, shown)
        if out is None:
            click.echo(text, nl=False)
        else:
            write_new(out, lambda file: file.write(text.encode("utf-8")))
    if figures:
        _print_figures(contract, found, calibration, masks)
    report_limits(contract, len(found.patients))


def _add_calibrated(contract: ReleaseContract, found: Predictions, calibration: Calibration | None) -> Predictions:
    """Add calibrated probabilities to what is written."""
    from client.prediction.prediction_file import CALIBRATED

    if calibration is None:
        return found
    from client.prediction.calibration import apply_calibration

    return replace(
        found, outputs={**found.outputs, CALIBRATED: apply_calibration(calibration, contract, found.raw)}
    )


def _print_figures(
    contract: ReleaseContract,
    found: Predictions,
    calibration: Calibration | None,
    masks: NDArray[np.float64] | None,
) -> None:
    from client.commands.release_data import list_figure_rows
    from client.prediction.calibration import estimate_calibrated_figures
    from client.prediction.figures import estimate_figures, group_labelled
    from client.prediction.refine import say_refined

    labelled = group_labelled(found)
    rows = list_figure_rows(estimate_figures(contract, labelled))
    if calibration is not None:
        if calibration.data_sha256 == found.sha256:
            say("warning: the calibration was fitted to this file: its figures are better than on other patients")
        calibrated = estimate_calibrated_figures(contract, labelled, calibration)
        rows += [(f"{each[0]}, calibrated", each[1], each[2]) for each in list_figure_rows(calibrated)]
    if masks is not None:
        refined = estimate_figures(contract, group_labelled(say_refined(found, masks)))
        rows += [(f"{each[0]}, refined", each[1], each[2]) for each in list_figure_rows(refined)]
    print_table(("figure", "value", f"95 % over {labelled.patients} patients"), rows)


def _watch(folder: Path, contract: ReleaseContract, module: nn.Module, calibration: Calibration | None) -> None:
    """Predict every new file of ``folder`` until a signal comes."""
    from client.commands.release_data import refuse_mistakes
    from client.prediction.predict import predict as predicted
    from client.prediction.prediction_file import format_arrays, format_csv, is_table
    from client.prediction.watch import Watcher
    from privacy.study import TableContract

    def predict_file(path: Path) -> tuple[str, bytes]:
        found = predicted(contract, module, path, keep_raw=calibration is not None)
        refuse_mistakes(path, found.mistakes)
        shown = _add_calibrated(contract, found, calibration)
        if is_table(shown):
            return ".csv", format_csv(contract, shown).encode("utf-8")
        return ".npz", format_arrays(shown)

    suffix = ".csv" if isinstance(contract.data, TableContract) else ".npz"
    digest = None if calibration is None else calibration.digest
    with contextlib.closing(Watcher(folder, suffix, contract.model.sha256, digest, predict_file)) as watcher:
        stop = threading.Event()
        stop_on_signals(stop)
        say(f"watches {folder} for new {suffix} files; stop with Ctrl-C")
        watcher.run(stop, say)
        say(f"{watcher.done} files predicted, {watcher.refused} refused since the start")
