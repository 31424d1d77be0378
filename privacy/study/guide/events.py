"""Explain the keys of contracts of kind ``events``."""

from typing import Final

from privacy.study.guide.guidance import Guidance

PARTS: Final[dict[str, str]] = {
    "EventsContract": "`data` with `kind: events`: what happened to patients and when, as visits, grids of "
    "measurements, or one vector. A site's tables, OMOP database or FHIR export become arrays by `data add "
    "--mapping`. Models find the inputs `visits` (or `codes`), `days`, `values`, `observed`, `gaps`, `present` and "
    "`static`, or `features` alone.",
    "VisitSteps": "`data.steps` with `kind: visits`: a step is a visit.",
    "GridSteps": "`data.steps` with `kind: grid`: steps of equal length, for measured variables.",
    "BagSteps": "`data.steps` with `kind: bag`: no steps; everything known is the one vector `features`, in [0, 1].",
    "EventIndex": "`data.index`: the moments of prediction. Each is a record: what is known then is input, what "
    "happens later is predicted.",
    "CodeSet": "An entry of `data.codes`, or `of` of a label of kind `codes`: codes of one system as columns of flags.",
    "CodeMap": "An entry of `data.maps`: a public table from one code system to another, the same file at all sites.",
    "Variable": "An entry of `data.variables`: a measured variable, scaled from its public range to [-1, 1].",
    "CodeName": "An entry of `codes` of a variable: one code of a system.",
    "LinearConversion": "An entry of `conversions` of a variable: multiply, then add.",
    "PatientAge": "An entry of `data.static` with `kind: age`: the age at the index.",
    "PatientFact": "An entry of `data.static` with `kind: fact`: a word about the patient, one-hot encoded.",
    "HasCode": "A criterion with `kind: code`: an event with one of some codes. In ICD and ATC a code includes those "
    "that begin with it.",
    "HasValue": "A criterion with `kind: value`: a value of a variable beyond a limit.",
    "HasWords": 'A criterion with `kind: words`: a note that has one of some phrases. "No diabetes" has the word '
    "diabetes: a negation is not understood.",
    "HasDied": "A criterion with `kind: death`: the patient's death.",
    "EventWindow": "`window` of a label: when it counts.",
    "Happens": "`data.label` with `kind: happens`: yes if an event in the window meets one of the criteria. Target "
    "`label`.",
    "SeveralHappen": "`data.label` with `kind: several`: the same for several lists of criteria. Target `labels`.",
    "CodesHappen": "`data.label` with `kind: codes`: which codes of a set are in the window. Target `labels`.",
    "ClassHappens": "`data.label` with `kind: class`: the first class with an event in the window. Target `label`.",
    "ValueHappens": "`data.label` with `kind: value`: a variable's value in the window. Target `label`.",
    "EventSurvival": "`data.label` with `kind: survival`: the time until one of some causes. Targets `time`, `event`.",
}

_SYSTEM: Final = Guidance(
    "The code system; how its codes are written is in [data formats](data-formats.md#events)."
)
_CRITERIA: Final = Guidance(
    "Criteria; an event that meets any of them counts.",
    "One disease is written in several ways: list the codes of every system that a site may use, and values that "
    "define it.",
)
_WINDOW: Final = Guidance("When it counts, seen from the index.")

KEYS: Final[dict[str, Guidance]] = {
    "EventsContract.kind": Guidance("Always `events`."),
    "EventsContract.name": Guidance(
        "The population: the people whose budget pays. Sites grant budgets by this name.",
        "The same people, the same name, in every study; other people, another name.",
    ),
    "EventsContract.patient": Guidance(
        "The name of the array of patients; must be none of the inputs and targets."
    ),
    "EventsContract.ranges_from": Guidance(
        "Where ranges, vocabularies and criteria come from.",
        "Name the publication, guideline or classification; `our patients` would be a leak without a price.",
    ),
    "EventsContract.records_per_patient": Guidance(
        "How many records of one patient may enter, the first ones in time; the rest is dropped.",
        "1 if the index has one moment for each patient; otherwise as many as most patients have.",
    ),
    "EventsContract.steps": Guidance(
        "The axis of time.",
        "`visits` for retain, doctor-ai, med2vec, dynamic-deephit; `grid` for gru-d; `bag` for deep-patient, dbn.",
    ),
    "EventsContract.index": Guidance("The moments of prediction.", "Without it the end of the last visit."),
    "EventsContract.codes": Guidance("Codes that are inputs, one set after another."),
    "EventsContract.maps": Guidance(
        "Tables by which codes of one system also count as those of another.",
        "Needed where sites code in ICD-9 and ICD-10: name CMS's General Equivalence Mappings by their SHA-256.",
    ),
    "EventsContract.variables": Guidance("Measured variables that are inputs, or that criteria and labels name."),
    "EventsContract.static": Guidance("What does not change: age at the index, words about the patient."),
    "EventsContract.label": Guidance(
        "What is predicted.",
        "Leave it out for tasks that predict the inputs: next-event, embedding, reconstruction.",
    ),
    "VisitSteps.kind": Guidance("Always `visits`."),
    "VisitSteps.length": Guidance(
        "The most visits of a record.", "As many as most patients have; more cost memory."
    ),
    "VisitSteps.keep": Guidance(
        "Of more visits, which are used: the last ones before the index, or the first ones."
    ),
    "VisitSteps.by": Guidance(
        "Whether a visit is what the source numbers as one, or a day with events.",
        "`day` where sources have no visits, or number them differently.",
    ),
    "VisitSteps.longest_gap": Guidance("In days: a longer time between two visits counts as this."),
    "VisitSteps.most_codes": Guidance(
        "Codes are then ids, at most so many a visit, instead of flags.",
        "Leave it out for the models of the catalogue.",
    ),
    "GridSteps.kind": Guidance("Always `grid`."),
    "GridSteps.length": Guidance("How many steps."),
    "GridSteps.unit": Guidance("Of `each`."),
    "GridSteps.each": Guidance("How many hours or days a step is long."),
    "GridSteps.several": Guidance("Of several values of a variable in one step, which counts."),
    "GridSteps.longest_gap": Guidance("In steps: a longer time without a value counts as this.", "The length."),
    "BagSteps.kind": Guidance("Always `bag`."),
    "EventIndex.at": Guidance(
        "Where the moments are: at the end of visits, some hours after their beginning, at a first event, at a date.",
        "A moment at which the prediction is of use, and before the outcome can be seen in the inputs.",
    ),
    "EventIndex.visits": Guidance(
        "Which visits have a moment: the last one, each, or those of these numbers, from 1."
    ),
    "EventIndex.before_last": Guidance(
        "So many last visits have none.", "1 where the next visit is predicted: of the last one none is known."
    ),
    "EventIndex.least_visits": Guidance("Patients with fewer visits have no record."),
    "EventIndex.hours": Guidance(
        "With `at: visit-start`, how long after the beginning of the visit.", "48 for a grid of 48 hours."
    ),
    "EventIndex.of": _CRITERIA,
    "EventIndex.without": Guidance(
        "Who met one of these criteria until the index has no record.",
        "The criteria of the label, so that only those are asked about who do not have the disease yet.",
    ),
    "EventIndex.date": Guidance("With `at: date`, the day; what was before its beginning is known."),
    "EventIndex.history_days": Guidance(
        "Only what was so many days before the index, or later, is input; else all of it."
    ),
    "CodeSet.system": _SYSTEM,
    "CodeSet.every": Guidance("A vocabulary that a rule gives, whether a patient has the codes or not."),
    "CodeSet.words": Guidance(
        "The codes, one column each. In ICD and ATC a code counts for the longest one with which it begins.",
        "From a classification or a publication, never from patients' frequencies.",
    ),
    "CodeSet.buckets": Guidance(
        "A code's column is its SHA-256 modulo this number.",
        "For systems without a hierarchy, such as SNOMED CT, where a list would be too long; codes share a column.",
    ),
    "CodeSet.others": Guidance("Whether codes of the system without a column have one together, the last one."),
    "CodeMap.source": Guidance("Codes of this system ..."),
    "CodeMap.target": Guidance("... also count as those of this one."),
    "CodeMap.form": Guidance(
        "How the file is written: CMS's GEM as text or as CSV, AHRQ's CCS, or CSV with two columns."
    ),
    "CodeMap.sha256": Guidance("Of the file, unpacked.", "Sites refuse another file."),
    "CodeMap.several": Guidance(
        "What becomes of a code that leads to several codes: all of them count, or none.",
        "`all` for a vocabulary of categories, in which they mostly agree. Sites see how many there are.",
    ),
    "Variable.name": Guidance("For people, criteria and labels."),
    "Variable.codes": Guidance(
        "What it is measured as.", "LOINC codes, every one that a site may use; sites can translate their own."
    ),
    "Variable.unit": Guidance(
        "The unit of the range; empty for a number without unit.", "As UCUM writes it: `mg/dL`."
    ),
    "Variable.low": Guidance("The lower end of its public range; a smaller value counts as this."),
    "Variable.high": Guidance("The upper end; a larger value counts as this."),
    "Variable.logarithm": Guidance(
        "Whether its logarithm is scaled.", "For a variable over several orders of magnitude."
    ),
    "Variable.molar_mass": Guidance("In g/mol, so that mmol/L becomes mg/dL.", "180.156 for glucose."),
    "Variable.conversions": Guidance(
        "From units that physics does not convert.",
        "HbA1c: `{unit: mmol/mol, times: 0.09148, plus: 2.152}` gives %.",
    ),
    "CodeName.system": _SYSTEM,
    "CodeName.code": Guidance("The code."),
    "LinearConversion.unit": Guidance("The unit that values may have."),
    "LinearConversion.times": Guidance("They are multiplied by this ..."),
    "LinearConversion.plus": Guidance("... then this is added."),
    "PatientAge.kind": Guidance("Always `age`."),
    "PatientAge.low": Guidance("In years; a younger patient counts as this."),
    "PatientAge.high": Guidance("In years; an older patient counts as this."),
    "PatientFact.kind": Guidance("Always `fact`."),
    "PatientFact.name": Guidance(
        "Its name, such as `sex`, which OMOP and FHIR give as `female`, `male` and `other`."
    ),
    "PatientFact.values": Guidance("The words, one column each; another word counts as missing."),
    "HasCode.kind": Guidance("Always `code`."),
    "HasCode.system": _SYSTEM,
    "HasCode.codes": Guidance("The codes."),
    "HasValue.kind": Guidance("Always `value`."),
    "HasValue.variable": Guidance("The name of a variable of the contract."),
    "HasValue.above": Guidance(
        "In the variable's unit; values above it meet the criterion, the value itself does not."
    ),
    "HasValue.below": Guidance("Likewise, values below it."),
    "HasWords.kind": Guidance("Always `words`."),
    "HasWords.phrases": Guidance("Phrases of whole words; letter case and punctuation do not matter."),
    "HasDied.kind": Guidance("Always `death`."),
    "EventWindow.when": Guidance("After the index, in its visit, or in the next visit."),
    "EventWindow.days": Guidance("How long the window after the index is."),
    "EventWindow.begins": Guidance(
        "So many days after the index it begins.", "More than 0 keeps out what was nearly known."
    ),
    "EventWindow.followed": Guidance(
        "Whether a record needs a patient who was seen until the window's end, or who died.",
        "`required`, unless sources have everything that happens to a patient.",
    ),
    "Happens.kind": Guidance("Always `happens`."),
    "Happens.of": _CRITERIA,
    "Happens.window": _WINDOW,
    "SeveralHappen.kind": Guidance("Always `several`."),
    "SeveralHappen.of": Guidance("A list of criteria for each flag."),
    "SeveralHappen.window": _WINDOW,
    "CodesHappen.kind": Guidance("Always `codes`."),
    "CodesHappen.of": Guidance("The codes, one flag each."),
    "CodesHappen.window": _WINDOW,
    "ClassHappens.kind": Guidance("Always `class`."),
    "ClassHappens.of": Guidance("A list of criteria for each class; of several the first one counts."),
    "ClassHappens.otherwise": Guidance(
        "What a record without an event of a class is: a class, the last one, or left out."
    ),
    "ClassHappens.window": _WINDOW,
    "ValueHappens.kind": Guidance("Always `value`."),
    "ValueHappens.variable": Guidance("The name of a variable of the contract."),
    "ValueHappens.take": Guidance("Which of several values in the window."),
    "ValueHappens.window": _WINDOW,
    "ValueHappens.low": Guidance("The lower end of the label's public range, in the variable's unit."),
    "ValueHappens.high": Guidance("The upper end."),
    "EventSurvival.kind": Guidance("Always `survival`."),
    "EventSurvival.causes": Guidance("A list of criteria for each cause; of two at one time the first one counts."),
    "EventSurvival.unit": Guidance("Of the time."),
    "EventSurvival.longest": Guidance(
        "A later time counts as this, and as censored.", "The task's last horizon, or more."
    ),
}
