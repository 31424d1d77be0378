"""Explain the keys of a study file under ``data``."""

from typing import Final

from privacy.study.guide.guidance import Guidance

PARTS: Final[dict[str, str]] = {
    "TableContract": "`data` without `kind`, or with `kind: table`: the table that every site must have, as a CSV "
    "file or by [a mapping of its own tables](data-formats.md#tables). "
    "Everything in it is public and chosen by the author; "
    "nothing may be measured on patients.",
    "Number": "An entry of `data.features` with `kind: number`: scaled from its public range to [-1, 1].",
    "Category": "An entry of `data.features` with `kind: category`: one-hot encoded.",
    "Date": "An entry of `data.features` with `kind: date`: days in a public range, or the place in the year.",
    "Text": "An entry of `data.features` with `kind: text`: the set of its words. A word is a run of letters or "
    "digits, without letter case.",
    "BinaryLabel": "`data.label` without `kind`, or with `kind: binary`: a column of yes and no.",
    "ClassLabel": "`data.label` with `kind: class`: a column whose words belong to classes.",
    "NumberLabel": "`data.label` with `kind: number`: a column of numbers.",
    "SeveralLabels": "`data.label` with `kind: several`: several columns of yes and no, each predicted for itself.",
    "SurvivalLabel": "`data.label` with `kind: survival`: a time, and what happened then.",
    "ArraysContract": "`data` with `kind: arrays`: named tensors of any shape (images, volumes, series, visits, "
    "sequences), "
    "as arrays in one `.npz` file, records first.",
    "Numbers": "An entry of `data.inputs` or `data.targets` with `type: number`: clipped to a public range, then "
    "scaled.",
    "Ids": "An entry of `data.inputs` or `data.targets` with `type: id`: words of a vocabulary, by their numbers.",
    "Flags": "An entry of `data.inputs` or `data.targets` with `type: flag`: yes or no, such as a mask.",
}

KEYS: Final[dict[str, Guidance]] = {
    "TableContract.name": Guidance(
        "The population: the people whose budget pays. Sites grant budgets by this name.",
        "The same people, the same name, in every study; other people, another name.",
    ),
    "TableContract.patient": Guidance(
        "The column that tells who a patient is.",
        "It must tell one person from another in every file of the population: what is equal here is one person, "
        "with "
        "one budget.",
    ),
    "TableContract.ranges_from": Guidance(
        "Where the ranges and words below come from.",
        "Name the publication, guideline or device; `our patients` would be a leak without a price.",
    ),
    "TableContract.features": Guidance(
        "The columns that are learned from, each with `kind: number`, `category`, `date` or `text`.",
        "Fewer are better with privacy: each numeric column costs two inputs, one of them for being missing.",
    ),
    "TableContract.label": Guidance("The column that is predicted."),
    "TableContract.missing": Guidance(
        "The words that mean that a value is missing.",
        'List every one that any site writes, and quote them: `["", "NA", "NULL", "."]`. A missing number counts as '
        "the middle of its range, and the column's indicator is raised.",
    ),
    "TableContract.records_per_patient": Guidance(
        "How many records of one patient may enter, the first ones of the file; the rest is dropped.",
        "As many as most patients have. With `unit: patient` a patient's records are averaged into one, so that more "
        "of them cost no privacy; with `unit: record` each is paid for.",
    ),
    "Number.kind": Guidance("Always `number`."),
    "Number.name": Guidance("The column's name, exactly as in the file's header."),
    "Number.low": Guidance(
        "The lower end of its public range; a smaller value counts as this.",
        "What medicine thinks possible, in the unit you name to the sites; not the least value that anybody "
        "measured.",
    ),
    "Number.high": Guidance(
        "The upper end; a larger value counts as this.",
        "A range ten times too wide squeezes all patients into a tenth of the scale, where the noise drowns them.",
    ),
    "Category.kind": Guidance("Always `category`."),
    "Category.name": Guidance("The column's name, exactly as in the file's header."),
    "Category.values": Guidance(
        "Its public vocabulary. Any other word breaks the contract.",
        "Quote what YAML would read as a number, yes or no. Each word is an input: group rare ones at the sites "
        "first.",
    ),
    "Date.kind": Guidance("Always `date`."),
    "Date.name": Guidance(
        "The column's name; its dates are written `2024-03-01`, or converted by the site's mapping."
    ),
    "Date.taken": Guidance(
        "What is taken of it: `days` in the range, or its place in the year by `month` or by `day_of_year`.",
        "A place in the year for seasons; `days` for how practice changes over years.",
    ),
    "Date.earliest": Guidance(
        "The first date of the public range of `days`; an earlier one counts as this.",
        "When the study's period begins; not the first date that anybody has.",
    ),
    "Date.latest": Guidance("The last date; a later one counts as this."),
    "Text.kind": Guidance("Always `text`."),
    "Text.name": Guidance("The column's name."),
    "Text.buckets": Guidance(
        "How many buckets words are put into, by a hash (SHA-256) that is the same everywhere.",
        "A few hundred: each bucket is an input. Words that share one cannot be told apart.",
    ),
    "Text.words": Guidance(
        "Instead of buckets: a public list of words in small letters; other words are ignored.",
        "A list that was published, or written by hand; never one that was counted from patients' texts.",
    ),
    "BinaryLabel.name": Guidance("The column that holds it."),
    "BinaryLabel.positive": Guidance("The words that mean yes.", 'Quote numbers: `["1"]`.'),
    "BinaryLabel.negative": Guidance("The words that mean no.", "Every record must have one of the two."),
    "TableContract.kind": Guidance("`table`; may be left out."),
    "TableContract.scaled": Guidance(
        "Whether numbers are scaled to [-1, 1] (`signed`) or to [0, 1] (`unit`).",
        "`unit` for models that learn to reproduce their input as chances, such as `dbn` and `adage`.",
    ),
    "BinaryLabel.kind": Guidance("`binary`; may be left out."),
    "ClassLabel.kind": Guidance("Always `class`."),
    "ClassLabel.name": Guidance("The column that holds it."),
    "ClassLabel.classes": Guidance(
        "The words of each class, class by class. For an ordinal task they are in rising order.",
        "Join rare classes: every class is an output, and its few patients drown in noise.",
    ),
    "NumberLabel.kind": Guidance("Always `number`."),
    "NumberLabel.name": Guidance("The column that holds it."),
    "NumberLabel.low": Guidance("The lower end of its public range; a smaller value counts as this."),
    "NumberLabel.high": Guidance(
        "The upper end; a larger value counts as this.",
        "What medicine thinks possible, as for a column of numbers.",
    ),
    "SeveralLabels.kind": Guidance("Always `several`."),
    "SeveralLabels.columns": Guidance("The columns, each as a label of kind `binary`."),
    "SurvivalLabel.kind": Guidance("Always `survival`."),
    "SurvivalLabel.time": Guidance(
        "The column of times from the beginning of observation, in the unit of `longest`."
    ),
    "SurvivalLabel.longest": Guidance(
        "The longest time; whoever was observed for longer counts as censored there.",
        "A little more than the longest follow-up that you plan to look at.",
    ),
    "SurvivalLabel.event": Guidance("The column that says what happened at that time."),
    "SurvivalLabel.censored": Guidance("The words for: nothing yet, observation ended."),
    "SurvivalLabel.causes": Guidance("The words of each cause, cause by cause; they compete."),
    "ArraysContract.kind": Guidance("Always `arrays`."),
    "ArraysContract.name": Guidance(
        "The population: the people whose budget pays. Sites grant budgets by this name.",
        "The same people, the same name, in every study; other people, another name.",
    ),
    "ArraysContract.patient": Guidance(
        "The array that tells the patient of each record, as text or whole numbers."
    ),
    "ArraysContract.ranges_from": Guidance(
        "Where the ranges and vocabularies below come from; no measurement on patients."
    ),
    "ArraysContract.records_per_patient": Guidance(
        "How many records of one patient may enter, the first ones of the file; the rest is dropped.",
        "As many as most patients have: images of one examination, slices of one volume, patches of one slide.",
    ),
    "ArraysContract.inputs": Guidance(
        "The tensors that a model may take.", "Names and axes as the model has them: `consilium model show NAME`."
    ),
    "ArraysContract.targets": Guidance(
        "The tensors that a task may predict; none where the task's target is an input, as in reconstruction."
    ),
    "Numbers.type": Guidance("Always `number`."),
    "Numbers.name": Guidance("The name of the array in the file."),
    "Numbers.shape": Guidance(
        "The shape of one record; left out for one number. An image is channels, height, width."
    ),
    "Numbers.low": Guidance(
        "The lower end of its public range; a smaller value counts as this.", "0 for an image of bytes."
    ),
    "Numbers.high": Guidance("The upper end; a larger value counts as this.", "255 for an image of bytes."),
    "Numbers.scaled": Guidance(
        "To what the range is scaled: `unit` [0, 1], `signed` [-1, 1], `none` leaves values as they are.",
        "`unit`; `signed` where zero stands for the ordinary.",
    ),
    "Ids.type": Guidance("Always `id`."),
    "Ids.name": Guidance("The name of the array in the file."),
    "Ids.shape": Guidance("The shape of one record; left out for one word, and for the label of a class."),
    "Ids.values": Guidance(
        "The size of the vocabulary: ids are 0 to one less.", "Keep 0 for no word where lengths differ."
    ),
    "Flags.type": Guidance("Always `flag`."),
    "Flags.name": Guidance("The name of the array in the file."),
    "Flags.shape": Guidance("The shape of one record."),
}
