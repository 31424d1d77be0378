"""Explain the keys of contracts of kind ``sequences``, ``pairs`` and ``expression``."""

from typing import Final

from privacy.study.guide.guidance import Guidance

PARTS: Final[dict[str, str]] = {
    "SequencesContract": "`data` with `kind: sequences`: DNA, RNA or protein letters. A site's FASTA files, BED "
    "intervals of a genome, or tables become arrays by `data add --mapping`.",
    "Letters": "`data.sequence`, or an entry of `data.inputs` with `kind: letters`: a sequence of one public length.",
    "Overlap": "`data.overlap`: what is predicted is whether sets of intervals, such as peaks, cover the sequence's "
    "own interval.",
    "PairsContract": "`data` with `kind: pairs`: compounds and proteins, pair by pair, and how strongly they bind.",
    "Fingerprint": "An entry of `data.inputs` with `kind: fingerprint`: a compound's Morgan fingerprint. Sites need "
    "the extra `chemistry`.",
    "Similarities": "An entry of `data.inputs` with `kind: similarities`: the row of a public matrix that an item has, "
    "such as its similarities to the drugs of a list, or its neighbours in a network.",
    "Affinity": "`data.affinity`: -log10 of a constant in mol/l, as pKd, pKi or pIC50.",
    "ExpressionContract": "`data` with `kind: expression`: named genes in a public order, one number each. A site's "
    "matrices (CSV, TSV, GCT, PCL, h5ad, 10x, GCTX) become arrays by `data add --mapping`.",
}

_POPULATION: Final = Guidance(
    "The population: the people whose budget pays. Sites grant budgets by this name.",
    "The same people, the same name, in every study; other people, another name.",
)
_RECORDS: Final = Guidance(
    "How many records of one patient may enter, the first ones of the source; the rest is dropped.",
    "As many as most patients have.",
)

KEYS: Final[dict[str, Guidance]] = {
    "SequencesContract.kind": Guidance("Always `sequences`."),
    "SequencesContract.name": _POPULATION,
    "SequencesContract.patient": Guidance(
        "The column that tells the patient of each sequence.",
        "A person where sequences are of persons; their mapping says which word of a header or table it is.",
    ),
    "SequencesContract.ranges_from": Guidance("Where length, alphabet and the words of the label come from."),
    "SequencesContract.records_per_patient": _RECORDS,
    "SequencesContract.sequence": Guidance("The letters, the only input."),
    "SequencesContract.minus_strand": Guidance(
        "Whether an interval on the minus strand is read as the genome stands there (`as-given`), or as its reverse "
        "complement.",
        "`reverse-complement` where direction matters, as for transcripts; then sites say which strand's letters they "
        "have.",
    ),
    "SequencesContract.flanks": Guidance(
        "What stands around an interval that is shorter than the length: `padding`, or the letters of the `genome`.",
        "`genome` for peaks of unequal length, with `keep: middle`; sites then need intervals and a genome.",
    ),
    "SequencesContract.label": Guidance(
        "What is predicted, from columns.", "Leave it out for reconstruction, and with `overlap`."
    ),
    "SequencesContract.overlap": Guidance("What is predicted, from intervals, instead of a label."),
    "Letters.kind": Guidance("`letters`; may be left out in `data.sequence`."),
    "Letters.name": Guidance("The name of the tensor.", "As the model has it: `consilium model show NAME`."),
    "Letters.alphabet": Guidance(
        "Which letters have a number, in a fixed order: `dna` ACGT, `rna` ACGU (T and U are one letter), `protein` the "
        "25 letters ABCDEFGHIKLMNOPQRSTUVWXYZ, `smiles` the 64 signs of DeepDTA."
    ),
    "Letters.length": Guidance(
        "The letters that are kept; longer sequences are cut, shorter ones are padded.",
        "A public choice: what the model's paper takes, not the longest that a site has.",
    ),
    "Letters.encoded": Guidance(
        "`one-hot`: numbers (letters, length), each column one letter. `ids`: numbers of letters from 1; 0 is padding.",
        "As the model takes it: `deepchrome` one-hot, `deepdta` ids.",
    ),
    "Letters.keep": Guidance(
        "The part of a longer sequence that is kept; padding stands at the other end.",
        "`middle` for windows round a site.",
    ),
    "Letters.lower_case": Guidance(
        "Whether a small letter counts as its `capital`, or as `unknown`, since genomes mark repeats so.",
        "`capital`; sites mask differently. Small letters of a SMILES are letters of their own.",
    ),
    "Letters.unknown": Guidance(
        "What becomes of a letter that may be several, of a gap or a stop: `zero` as padding, `own` a number or row of "
        "its own, `shares` an equal part for each possible base, `refuse` leaves the record out. Other signs always "
        "leave it out.",
        "`zero`; `shares` (N as four quarters) if the model's paper does so.",
    ),
    "Overlap.sets": Guidance(
        "The names of the sets. One gives the target `label`; several give the flags `labels`, in this order.",
        "One name for each assay; the site's mapping says which BED file it is.",
    ),
    "Overlap.share": Guidance(
        "The part of the interval that a set must cover at least.", "0.5, as DeepSEA has it."
    ),
    "PairsContract.kind": Guidance("Always `pairs`."),
    "PairsContract.name": _POPULATION,
    "PairsContract.patient": Guidance("The array that names what is protected, in the files that are made."),
    "PairsContract.ranges_from": Guidance("Where alphabets, lengths and the range of the affinity come from."),
    "PairsContract.records_per_patient": Guidance(
        "How many pairs of one protected item may enter, the first ones of the table; the rest is dropped.",
        "As many as most have. Let sites shuffle their tables: otherwise only the first proteins are learned.",
    ),
    "PairsContract.protected": Guidance(
        "What the study hides: the name of an input, so that its items are the patients, each with all its pairs; or "
        "`person`, whom the table tells.",
        "Companies hide their compounds; hospitals hide persons. What is not named here is not protected.",
    ),
    "PairsContract.inputs": Guidance(
        "What the two items become, each with `kind: letters`, `kind: fingerprint` or `kind: similarities`.",
        "One input is allowed too, such as fingerprints with a class as the label.",
    ),
    "PairsContract.affinity": Guidance("What is predicted, from a constant; the target is `affinity`."),
    "PairsContract.label": Guidance("What is predicted, from a column of any other kind."),
    "Fingerprint.kind": Guidance("Always `fingerprint`."),
    "Fingerprint.name": Guidance("The name of the tensor.", "`features` for `mlp` and `logistic`."),
    "Fingerprint.radius": Guidance("How many bonds around an atom count.", "2, which is called ECFP4."),
    "Fingerprint.bits": Guidance(
        "To how many bits the surroundings are folded.", "Each bit is an input that gets noise: fewer are better."
    ),
    "Similarities.kind": Guidance("Always `similarities`."),
    "Similarities.name": Guidance("The name of the tensor.", "`features` for `mlp` and `logistic`."),
    "Similarities.columns": Guidance(
        "The names of the matrix's columns, in the order of the tensor; a public list.",
        "Never patients: a row would then tell about others than the one whose it is.",
    ),
    "Similarities.low": Guidance(
        "The lower end of the range. A matrix with a smaller value is refused, not clipped."
    ),
    "Similarities.high": Guidance("The upper end.", "1 for similarities, 100 for percents of identity."),
    "Similarities.scaled": Guidance("To what the range is scaled: [0, 1], [-1, 1], or not at all."),
    "Similarities.symmetric": Guidance(
        "Whether rows and columns are the same things; the matrix must then be complete and symmetric.",
        "Set it where it is so: it finds files that are cut or sorted otherwise. Published matrices are not always "
        "symmetric.",
    ),
    "Similarities.diagonal": Guidance("The similarity of a thing to itself, if all have the same.", "1 for most."),
    "Similarities.sha256": Guidance(
        "The SHA-256 of the only file that sites may use; without it each has its own.",
        "Set it for a published matrix or embedding, so that a row means the same at every site.",
    ),
    "Affinity.low": Guidance(
        "The lower end of the public range of -log10; a smaller value counts as this.",
        "5 (10 uM) where nothing weaker is measured.",
    ),
    "Affinity.high": Guidance("The upper end.", "11 (10 pM) is stronger than usual drugs."),
    "Affinity.bounds": Guidance(
        "What becomes of a constant that is only a bound, such as `> 10000`: `refuse` leaves the pair out, `equal` "
        "takes the bound as the value.",
        "`equal` where the bound is the weakest that was measured, and `low` says the same.",
    ),
    "ExpressionContract.kind": Guidance("Always `expression`."),
    "ExpressionContract.name": _POPULATION,
    "ExpressionContract.patient": Guidance(
        "The column that tells the patient of each sample.",
        "Several samples, or all cells, of a person are one patient.",
    ),
    "ExpressionContract.ranges_from": Guidance(
        "Where the list of genes and the range come from; no measurement on patients.",
        "The panel's maker, a pathway database, an earlier publication.",
    ),
    "ExpressionContract.records_per_patient": Guidance(
        "How many samples of one patient may enter, the first ones of the source; the rest is dropped.",
        "With single cells, as many cells as most patients have, at most a few hundred.",
    ),
    "ExpressionContract.input": Guidance("The name of the tensor.", "`features`, which most models take."),
    "ExpressionContract.genes": Guidance(
        "The genes, in the tensor's order; letter case matters.",
        "Fewer are better with privacy. Name the kind of identifier in `ranges_from`: symbols, Entrez, Ensembl.",
    ),
    "ExpressionContract.transform": Guidance(
        "What is done to a measured value: `none`, or `log2p1`, the logarithm to base 2 of 1 + value.",
        "`log2p1` for counts and their kind. Sites that keep logarithms say so in their mapping, and they are undone.",
    ),
    "ExpressionContract.low": Guidance(
        "The lower end of the public range, after the transform; a smaller value counts as this."
    ),
    "ExpressionContract.high": Guidance(
        "The upper end; a larger value counts as this.", "16 for log2 of arrays; about 20 for log2p1 of counts."
    ),
    "ExpressionContract.scaled": Guidance(
        "To what the range is scaled: `unit` [0, 1], `signed` [-1, 1], `none` leaves values as they are.",
        "`unit` for `adage` and `dbn`.",
    ),
    "ExpressionContract.absent": Guidance(
        "What stands for a gene that a sample lacks: nothing (`refuse`, the sample is left out), the `low` end of the "
        "range, or its `middle`.",
        "`middle` for arrays of different makers; `low` for counts, where an absent gene was mostly not seen.",
    ),
    "ExpressionContract.most_absent": Guidance(
        "The largest part of the genes that a sample may lack.", "0.1 lets sites with another panel take part."
    ),
    "ExpressionContract.repeated": Guidance(
        "What becomes of a gene with several rows, such as probes: `refuse`, their `mean`, or the `largest`.",
        "`mean`, if sites have arrays.",
    ),
    "ExpressionContract.label": Guidance("What is predicted, from columns; left out for reconstruction."),
}
