"""Turn one of three trials with repeated measurements and deaths into files of three sites.

    python examples/longitudinal/prepare_trials.py TRIAL FILE OUT

``FILE`` is the table of an R package as CSV, also compressed, with a row for each visit of a patient:

===========  ===========================================  ========  ================================================
TRIAL        patients                                     table     studies
===========  ===========================================  ========  ================================================
prothro      488 with cirrhosis, prednisone or placebo    JM        ``prothro_atlas.yaml``, ``recurrent.yaml``
aids         467 with HIV, zalcitabine or didanosine      JM        ``aids_atlas.yaml``
heart-valve  256 with a new aortic valve                  joineRML  ``valve_deephit.yaml``
===========  ===========================================  ========  ================================================

``OUT`` gets ``site-1`` to ``site-3``, each with ``train.npz`` and ``test.npz``; v is the number of variables:

=============  ================  =====================================================================================
array          shape             content
=============  ================  =====================================================================================
``values``     (records, 8, v)   what was measured, and what a patient was when the trial began, from -1 to 1 within
                                 public ranges; 0 where it was not measured
``observed``   (records, 8, v)   which of them a visit has; what was known from the beginning at the first one only
``gaps``       (records, 8, v)   half the years since a variable's last measurement, or since the first visit; at most 1
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

Sources: Andersen, Borgan, Gill and Keiding 1993, Statistical Models Based on Counting Processes (cirrhosis). Abrams et
al. 1994, New England Journal of Medicine 330:657-662 (HIV). Lim et al. 2008, Journal of Thoracic and Cardiovascular
Surgery 135:999-1006 (valves).
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas

SITES: Final = 3
TEST: Final = 4  # of so many patients of a site one is for testing
VISITS: Final = 8
AFTER: Final = (1, 2, 4)  # visits, of a patient's records
LONGEST_GAP_Y: Final = 2.0

Range = tuple[float, float]


@dataclass(frozen=True)
class Trial:
    """The columns of a table: ``patient``, ``visit`` and ``followed`` (times since the beginning), ``died``.

    ``measured`` has the range of each variable of a visit, ``fixed`` that of each one of the beginning, or the numbers
    that its words stand for.
    """

    patient: str
    visit: str
    followed: str
    died: str
    measured: Mapping[str, Range]
    fixed: Mapping[str, Range | Mapping[str, float]]
    a_year: float = 1.0
    """A year in the unit of the table's times."""


TRIALS: Final = {
    "prothro": Trial(
        patient="id",
        visit="time",
        followed="Time",
        died="death",
        measured={"pro": (20.0, 140.0)},  # the prothrombin index, in per cent of the ordinary
        fixed={"treat": {"placebo": -1.0, "prednisone": 1.0}},
    ),
    "aids": Trial(
        patient="patient",
        visit="obstime",
        followed="Time",
        died="death",
        measured={"CD4": (0.0, 25.0)},  # the square root of the cells in a microlitre
        fixed={
            "drug": {"ddC": -1.0, "ddI": 1.0},
            "prevOI": {"noAIDS": -1.0, "AIDS": 1.0},
            "AZT": {"failure": -1.0, "intolerance": 1.0},
        },
        a_year=12.0,
    ),
    "heart-valve": Trial(
        patient="num",
        visit="time",
        followed="fuyrs",
        died="status",
        # the valve's gradient in mmHg, the mass of the left ventricle in g/m2, its ejection fraction in per cent
        measured={"grad": (0.0, 80.0), "lvmi": (50.0, 300.0), "ef": (20.0, 90.0)},
        fixed={"age": (20.0, 100.0), "sex": (0.0, 1.0), "hs": {"Stentless valve": -1.0, "Homograft": 1.0}},
    ),
}


def scale(values: np.ndarray, limits: Range) -> np.ndarray:
    """Scale values from a range to -1 to 1, and set what is beyond to the ends."""
    low, high = limits
    scaled: np.ndarray = 2 * (np.clip(values, low, high) - low) / (high - low) - 1
    return scaled


def make_record(trial: Trial, visits: pandas.DataFrame) -> dict[str, np.ndarray] | None:
    """Make the record of a patient's first visits, which are given; None if nothing was observed after them."""
    times, count = visits[trial.visit].to_numpy() / trial.a_year, len(visits)
    waited = float(visits[trial.followed].iloc[0]) / trial.a_year - times[-1]
    if waited <= 0:
        return None
    shape = VISITS, len(trial.measured) + len(trial.fixed)
    values, gaps = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    observed = np.zeros(shape, dtype=bool)
    for place, (name, limits) in enumerate(trial.measured.items()):
        found = visits[name].to_numpy(dtype=float)
        observed[:count, place] = ~np.isnan(found)
        values[:count, place] = np.where(observed[:count, place], scale(found, limits), 0)
        last = times[0]
        for visit in range(count):
            gaps[visit, place] = min(1.0, (times[visit] - last) / LONGEST_GAP_Y)
            last = times[visit] if observed[visit, place] else last
    for place, (name, kind) in enumerate(trial.fixed.items(), start=len(trial.measured)):
        first = visits[name].iloc[0]
        values[0, place] = kind[first] if isinstance(kind, Mapping) else scale(np.array(float(first)), kind)
        observed[0, place] = True
        gaps[:count, place] = np.minimum(1.0, (times - times[0]) / LONGEST_GAP_Y)
    return {
        "values": values,
        "observed": observed,
        "gaps": gaps,
        "present": np.arange(VISITS) < count,
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
    table = pandas.read_csv(file).sort_values([trial.patient, trial.visit], kind="stable")
    everybody = [visits for _, visits in table.groupby(trial.patient)]
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
    parser = argparse.ArgumentParser(description="Turn a trial with repeated measurements into arrays.")
    parser.add_argument("trial", choices=TRIALS, metavar="TRIAL", help=", ".join(TRIALS))
    parser.add_argument("file", type=Path)
    parser.add_argument("target", type=Path, metavar="OUT")
    asked = parser.parse_args()
    prepare(TRIALS[asked.trial], asked.file, asked.target)
