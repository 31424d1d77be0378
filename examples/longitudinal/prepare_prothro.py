"""Turn a trial of patients with cirrhosis into files of three sites, for ``prothro_atlas.yaml``, ``recurrent.yaml``.

    python examples/longitudinal/prepare_prothro.py FILE OUT

``FILE`` is the table ``prothro`` of the R package JM as CSV, also compressed: a row for each visit of 488 patients, who
got prednisone or a placebo. ``OUT`` gets ``site-1`` to ``site-3``, each with ``train.npz`` and ``test.npz``:

=============  ================  =====================================================================================
array          shape             content
=============  ================  =====================================================================================
``values``     (records, 8, 2)   the prothrombin index and the treatment, from -1 to 1 within a public range; 0 where
                                 it was not measured
``observed``   (records, 8, 2)   which of both a visit has; the treatment at the first one only
``gaps``       (records, 8, 2)   half the years since a variable's last measurement, or since the first visit; at most 1
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

Source: Andersen, Borgan, Gill and Keiding 1993, Statistical Models Based on Counting Processes.
"""

import argparse
from pathlib import Path
from typing import Final

import numpy as np
import pandas

SITES: Final = 3
TEST: Final = 4  # of so many patients of a site one is for testing
VISITS: Final = 8
AFTER: Final = (1, 2, 4)  # visits, of a patient's records
LONGEST_GAP_Y: Final = 2.0
RANGE: Final = (20.0, 140.0)  # of the index, in per cent of the ordinary
TREATED: Final = {"placebo": -1.0, "prednisone": 1.0}


def make_record(visits: pandas.DataFrame) -> dict[str, np.ndarray] | None:
    """Make the record of a patient's first visits, which are given; None if nothing was observed after them."""
    times, count = visits["time"].to_numpy(), len(visits)
    waited = float(visits["Time"].iloc[0]) - times[-1]
    if waited <= 0:
        return None
    low, high = RANGE
    values, gaps = np.zeros((VISITS, 2), dtype=np.float32), np.zeros((VISITS, 2), dtype=np.float32)
    observed = np.zeros((VISITS, 2), dtype=bool)
    values[:count, 0] = 2 * (np.clip(visits["pro"], low, high) - low) / (high - low) - 1
    values[0, 1] = TREATED[visits["treat"].iloc[0]]
    observed[:count, 0] = observed[0, 1] = True
    gaps[1:count, 0] = np.minimum(1.0, np.diff(times) / LONGEST_GAP_Y)
    gaps[:count, 1] = np.minimum(1.0, (times - times[0]) / LONGEST_GAP_Y)
    return {
        "values": values,
        "observed": observed,
        "gaps": gaps,
        "present": np.arange(VISITS) < count,
        "time": np.float32(waited),
        "event": np.uint8(visits["death"].iloc[0]),
    }


def make_records(visits: pandas.DataFrame) -> list[dict[str, np.ndarray]]:
    """Make the records of one patient from all their visits."""
    found = [make_record(visits.iloc[:count]) for count in AFTER if count <= len(visits)]
    name = np.array(f"patient-{visits['id'].iloc[0]}")
    return [{**record, "patient": name} for record in found if record is not None]


def prepare(file: Path, target: Path) -> None:
    """Write the files of all sites under ``target``."""
    table = pandas.read_csv(file).sort_values(["id", "time"], kind="stable")
    everybody = [visits for _, visits in table.groupby("id")]
    for site in range(SITES):
        folder, own = target / f"site-{site + 1}", everybody[site::SITES]
        folder.mkdir(parents=True, exist_ok=True)
        for name, tests in (("train", False), ("test", True)):
            chosen = [visits for place, visits in enumerate(own) if (place % TEST == TEST - 1) == tests]
            records = [record for visits in chosen for record in make_records(visits)]
            np.savez(
                folder / f"{name}.npz", **{key: np.stack([each[key] for each in records]) for key in records[0]}
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Turn a trial of patients with cirrhosis into arrays.")
    parser.add_argument("file", type=Path)
    parser.add_argument("target", type=Path, metavar="OUT")
    asked = parser.parse_args()
    prepare(asked.file, asked.target)
