"""Turn public trials with repeated measurements into the files of three sites.

    python examples/longitudinal/prepare_trials.py TRIAL FILE OUT

===============  ======================================================  ==============================================
TRIAL            patients                                                study
===============  ======================================================  ==============================================
``prothro``      488 with cirrhosis of the liver; death                  ``prothro_atlas.yaml``, ``recurrent.yaml``
``heart_valve``  248 after replacement of the aortic valve; death        ``valve_modalities.yaml``
===============  ======================================================  ==============================================

``FILE`` is the trial's table with a row for each visit, as the R packages JM (``prothro``) and joineRML
(``heart.valve``) have it, as CSV, also compressed. ``OUT`` gets ``site-1`` to ``site-3``, each with ``train.npz`` and
``test.npz``; v is the number of the trial's variables:

=============  ================  =====================================================================================
array          shape             content
=============  ================  =====================================================================================
``values``     (records, 8, v)   from -1 to 1 within a variable's public range; 0 where it was not measured
``observed``   (records, 8, v)   which variables were measured at a visit; what never changes, at the first one only
``gaps``       (records, 8, v)   years since a variable's last measurement or the first visit, as a part of two, at most
                                 1
``present``    (records, 8)      which visits there are: the first ones
``time``       (records,)        years from the last visit until death or the end of observation
``event``      (records,)        1 for death, 0 if observation ended
``patient``    (records,)        the patient
=============  ================  =====================================================================================

Rules:

* a patient has up to three records: the first visit, the first two and the first four, where they were observed after
  the last of these;
* ranges are written below, from clinical knowledge; nothing was computed from patients;
* patients are dealt to the sites in turn, and every fourth one of a site is a test patient.

Sources: Andersen et al. 1993, Statistical Models Based on Counting Processes (the prothrombin index); Lim et al. 2008,
Longitudinal study of the profile and predictors of left ventricular mass regression after stentless aortic valve
replacement, Annals of Thoracic Surgery 85:2026-2029.
"""

import argparse
import math
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pandas

SITES: Final = 3
TEST: Final = 4  # of so many patients of a site one is for testing
VISITS: Final = 8
AFTER: Final = (1, 2, 4)  # visits, of a patient's records
LONGEST_GAP_Y: Final = 2.0


class Variable(NamedTuple):
    """A column, its public range, what its words count as, and whether it is told once, at the first visit."""

    column: str
    low: float
    high: float
    logarithm: bool = False
    once: bool = False
    words: tuple[str, ...] = ()  # numbers from 0

    def scale(self, value: float) -> float:
        """Scale a value to [-1, 1]; values beyond the range are clipped."""
        low, value, high = self.low, min(max(value, self.low), self.high), self.high
        if self.logarithm:
            low, value, high = math.log(low), math.log(value), math.log(high)
        return 2 * (value - low) / (high - low) - 1


class Trial(NamedTuple):
    """The columns of a trial, whose times are in years."""

    patient: str
    visited: str
    ended: str
    died: str
    variables: tuple[Variable, ...]


TRIALS: Final = {
    "prothro": Trial(
        "id", "time", "Time", "death",
        (Variable("pro", 20, 140), Variable("treat", 0, 1, once=True, words=("placebo", "prednisone"))),
    ),
    "heart_valve": Trial(
        "num", "time", "fuyrs", "status",
        (
            # who the patient is
            Variable("age", 30, 90, once=True),
            Variable("sex", 0, 1, once=True),
            Variable("bsa", 1.3, 2.5, once=True),
            # how ill before the operation
            Variable("prenyha", 1, 3, once=True),
            Variable("lv", 1, 3, once=True),
            Variable("creat", 50, 500, logarithm=True, once=True),
            Variable("dm", 0, 1, once=True),
            # the operation
            Variable("con.cabg", 0, 1, once=True),
            Variable("emergenc", 0, 2, once=True),
            Variable("redo", 0, 1, once=True),
            # what was measured at visits after it, each on its own
            Variable("grad", 2, 80, logarithm=True),
            Variable("lvmi", 50, 400, logarithm=True),
            Variable("ef", 20, 90),
        ),
    ),
}  # fmt: skip


def read_table(trial: Trial, file: Path) -> pandas.DataFrame:
    """Read a trial's table with words as numbers, in order of patients and visits."""
    table = pandas.read_csv(file)
    for each in trial.variables:
        if each.words:
            table[each.column] = table[each.column].map(each.words.index)
    return table.sort_values([trial.patient, trial.visited], kind="stable")


def make_record(trial: Trial, visits: pandas.DataFrame) -> dict[str, np.ndarray] | None:
    """Make the record of a patient's first visits, which are given; None if nothing was observed after them."""
    times = visits[trial.visited].to_numpy(dtype=float)
    waited = float(visits[trial.ended].iloc[0]) - times[-1]
    if waited <= 0:
        return None
    shape = (VISITS, len(trial.variables))
    values, gaps = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    observed = np.zeros(shape, dtype=bool)
    for place, each in enumerate(trial.variables):
        last = times[0]
        for visit, (time, value) in enumerate(zip(times, visits[each.column], strict=True)):
            gaps[visit, place] = min(1.0, (time - last) / LONGEST_GAP_Y)
            if not np.isnan(value) and not (each.once and visit):
                values[visit, place], observed[visit, place], last = each.scale(float(value)), True, time
    return {
        "values": values,
        "observed": observed,
        "gaps": gaps,
        "present": np.arange(VISITS) < len(visits),
        "time": np.float32(waited),
        "event": np.uint8(visits[trial.died].iloc[0]),
    }


def make_records(trial: Trial, visits: pandas.DataFrame) -> list[dict[str, np.ndarray]]:
    """Make the records of one patient from all their visits."""
    found = [make_record(trial, visits.iloc[:count]) for count in AFTER if count <= len(visits)]
    name = np.array(f"patient-{visits[trial.patient].iloc[0]}")
    return [{**record, "patient": name} for record in found if record is not None]


def prepare(trial: Trial, file: Path, target: Path) -> None:
    """Write the files of all sites under ``target``."""
    everybody = [visits for _, visits in read_table(trial, file).groupby(trial.patient)]
    for site in range(SITES):
        folder, own = target / f"site-{site + 1}", everybody[site::SITES]
        folder.mkdir(parents=True, exist_ok=True)
        for name, tests in (("train", False), ("test", True)):
            chosen = [visits for place, visits in enumerate(own) if (place % TEST == TEST - 1) == tests]
            records = [record for visits in chosen for record in make_records(trial, visits)]
            np.savez(
                folder / f"{name}.npz", **{key: np.stack([each[key] for each in records]) for key in records[0]}
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Turn a public trial with repeated measurements into arrays.")
    parser.add_argument("trial", choices=tuple(TRIALS))
    parser.add_argument("file", type=Path)
    parser.add_argument("target", type=Path, metavar="OUT")
    asked = parser.parse_args()
    prepare(TRIALS[asked.trial], asked.file, asked.target)
