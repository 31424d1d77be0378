"""Explain the keys of a study file beside data and task: model, training, privacy, cohort, evaluation, release."""

from typing import Final

from privacy.study.guide.guidance import Guidance

PARTS: Final[dict[str, str]] = {
    "Terms": "The file itself. Every mistake in it is named by `consilium study check FILE`, before anybody is "
    "asked.",
    "Model": "`model`: what is learned, where it begins, and which of its layers are trained and shared.",
    "Stage": "An entry of `training.stages`: a phase with its own objective, layers, rounds and learning rate.",
    "Adapters": "`model.adapters`: low-rank pairs (LoRA) trained beside frozen layers.",
    "Training": "`training`: the work at a site between two sums, and how all move the shared model.",
    "Step": "`training.step`: how a local step follows its gradient, once the noise is in it. It costs no privacy.",
    "Server": "`training.server`: how every site moves the shared model by the opened mean update.",
    "Privacy": "`privacy`: the promise to a patient of any site, for the whole study. `epsilon: none` stands alone.",
    "AdaptiveClipping": "`privacy.adaptive_clipping`: with `unit: site`, the clipping norm follows a quantile of the "
    "sites' updates.",
    "Correlation": "`privacy.correlation`: with `placement: correlated`, how the noise of steps hangs together.",
    "Cohort": "`cohort`: how many sites a round needs, and how many of them may conspire.",
    "SecureAggregation": "`secure_aggregation`: how an update becomes integers, and how these are sealed.",
    "Evaluation": "`evaluation`: when the shared model is scored on the sites' test patients, as sealed totals.",
    "ReleaseChoice": "`release`: who gets which model.",
}

KEYS: Final[dict[str, Guidance]] = {
    "Terms.consilium": Guidance("The version of this file's format."),
    "Terms.name": Guidance(
        "What the study is called; each launch adds eight digits of its own.",
        "Keep the name when you launch again: sites then see, and say, how many runs a result was chosen from.",
    ),
    "Terms.purpose": Guidance(
        "Why the study is done, in words.",
        "Write it for the people who decide at a hospital: they read it before they approve, and an auditor reads it "
        "afterwards.",
    ),
    "Terms.model": Guidance("What is learned."),
    "Terms.data": Guidance("The data that every site must have: a table, or arrays."),
    "Terms.task": Guidance(
        "What is predicted, and how it is judged.",
        "Leave it out for a table: it follows from the kind of the label.",
    ),
    "Terms.training": Guidance("How it is learned."),
    "Terms.privacy": Guidance("What is promised to training patients."),
    "Terms.cohort": Guidance("With how many sites."),
    "Terms.secure_aggregation": Guidance("How updates are sealed."),
    "Terms.evaluation": Guidance("When and how the model is scored.", "Leave it out to score nothing."),
    "Terms.release": Guidance("Who gets which model."),
    "Model.name": Guidance(
        "A model of the catalogue: `consilium model list` has them, `consilium model show NAME` explains one.",
        "Begin with `logistic`. With privacy, noise grows with the number of parameters: a few thousand are many "
        "for a "
        "few hundred patients.",
    ),
    "Model.version": Guidance(
        "The version of the model, which `consilium model list` shows: a program that has another one refuses the "
        "study.",
        "Leave it out: a launch names the program, and with it every model's version. Write it in a file that is kept "
        "for later launches.",
    ),
    "Model.options": Guidance(
        "What the model may be told; `preset: small` or `preset: paper` takes a whole set, which further keys "
        "change.",
        "`preset: small` first. With `mlp`, one hidden layer of 16 to 64 is enough for most tables.",
    ),
    "Model.inputs": Guidance(
        "Which tensor of the data an input of the model takes, where their names differ: `{image: radiograph}`."
    ),
    "Model.start": Guidance(
        "SHA-256 of a safetensors file of public weights, which every site must have before the study.",
        "Use it wherever a public model fits: what need not be learned from patients costs them nothing.",
    ),
    "Model.weight_names": Guidance(
        "Which layer of the file each layer of the model begins with, for weights of another library: `{encoder.0.0: "
        "features.0}` takes the first convolution of torchvision's VGG. Layers not named begin at random values.",
        "`consilium model show NAME` lists the layers; `consilium study check FILE --weights FILE` says what does not "
        "fit.",
    ),
    "Model.frozen": Guidance("Layers that are not trained; needs `start`."),
    "Model.trained": Guidance(
        "The only layers that are trained; needs `start`.", "`[head]` is the cheapest way to use a public model."
    ),
    "Model.adapters": Guidance("Train low-rank pairs beside frozen layers; needs `start`."),
    "Model.personal": Guidance(
        "Layers that each site trains for itself and never shares.",
        "For sites that differ much; then the released file has their first values, and each site keeps its own.",
    ),
    "Adapters.rank": Guidance("The rank of each pair.", "4 to 16; parameters, noise and bytes grow with it."),
    "Adapters.scale": Guidance("What the pair's product is multiplied by."),
    "Adapters.layers": Guidance("Which layers get a pair; left out: every one that is not trained whole."),
    "Training.rounds": Guidance(
        "How many sums are opened, one after another.",
        "10 to 20 with local noise, where later rounds change little. With distributed noise a round is one step: 20 "
        "to 100. All are paid at admission; what an early end does not use goes back.",
    ),
    "Training.local_steps": Guidance(
        "Steps of each site in a round. `local_epochs` may stand for it: so many passes over a site's patients, "
        "of one "
        "over the sampling rate steps each.",
        "5 to 20. Each step is noised and paid, so twice the steps need about 1.4 times the noise. With distributed "
        "noise over patients it is 1.",
    ),
    "Training.accumulate": Guidance(
        "Lots whose noised gradients are averaged into one step; each is paid.",
        "Leave it at 1: with privacy, a larger sampling rate is the better way to a calmer step.",
    ),
    "Training.sampling_rate": Guidance(
        "The chance with which each patient enters a lot, drawn anew for every lot.",
        "0.1 to 0.3 for hundreds of patients a site, 0.01 to 0.1 for many thousands. Larger lots drown the noise "
        "better and cost more of it; `consilium study check` shows the noise of each choice. A lot should hold some "
        "tens of patients at the smallest site.",
    ),
    "Training.learning_rate": Guidance(
        "How far a step goes.",
        "With clipping norm 1, 0.3 to 1 for local steps, and 1 to 3 for one distributed step a round. Try it on "
        "public "
        "or invented data with `consilium-site simulate`: tuning on patients is a study of its own, and is paid for.",
    ),
    "Training.schedule": Guidance(
        "How the learning rate falls over the rounds.", "`linear` calms the last rounds of a noisy study."
    ),
    "Training.step": Guidance(
        "How a local step follows its gradient.",
        "Leave it out first. `{rule: adam}` where one learning rate does not suit all layers: masks of few images, "
        "deep or recurrent networks. Then a rate of 0.005 to 0.05 serves with privacy and without.",
    ),
    "Training.proximal": Guidance(
        "FedProx: pulls local steps back to where the round began.",
        "0, or 0.01 where sites differ much. Not together with `control_variates`.",
    ),
    "Training.control_variates": Guidance(
        "SCAFFOLD: local steps are corrected by what the other sites' gradients were.",
        "Without privacy the best choice for sites that differ; with privacy it makes updates up to 1.4 times as "
        "long.",
    ),
    "Training.augmentation": Guidance(
        "How records are varied each time they are trained on.",
        "Leave it out first; it helps where a patient's records are few and the model is large.",
    ),
    "Training.views": Guidance(
        "How many varied copies of each record enter a step; a patient's gradient is their mean, before it is "
        "clipped. It "
        "costs time, and no privacy.",
        "1, or 4 to 16 with an augmentation or dropout and a large lot (De et al. 2022).",
    ),
    "Training.weight_decay": Guidance(
        "How fast parameters shrink, beside the gradient: by the learning rate times this in every step.",
        "0; with privacy, noise and clipping already hold a model back.",
    ),
    "Training.stages": Guidance(
        "Phases of one study, one after another; with them `rounds` and `learning_rate` may be left out.",
        "For models with objectives of their own (`consilium model show NAME`): one stage of each, then one for "
        "the task. "
        "Every round of every stage is paid.",
    ),
    "Stage.name": Guidance("What the stage is called in tables and cards."),
    "Stage.objective": Guidance("What it learns: one of the model's objectives, or `task`."),
    "Stage.rounds": Guidance("How many rounds.", "Few for pre-training: it pays like the rest."),
    "Stage.learning_rate": Guidance("How far a step goes in this stage.", "As `training.learning_rate`."),
    "Stage.trained": Guidance("The only layers that it trains; left out: all of the objective."),
    "Training.server_learning_rate": Guidance(
        "How far the shared model follows the mean update.", "1; `adam` and `yogi` need a smaller one."
    ),
    "Training.server": Guidance("The optimiser of the shared model."),
    "Training.weights": Guidance(
        "How sites count: by their public patient counts, or all alike.",
        "`patients`, unless one site would decide alone. With `unit: site` it is `uniform`.",
    ),
    "Step.rule": Guidance(
        "`plain`: the gradient itself. `adam`: every parameter has its own rate, and the noise's variance is taken off "
        "before (Tang et al. 2024).",
        "`plain`, unless the model learns nothing with it.",
    ),
    "Step.beta1": Guidance("Decay of Adam's first moment. Moments begin anew in every round."),
    "Step.beta2": Guidance(
        "Decay of the second moment; more than the square of `beta1`.", "1 less one over the local steps, or less."
    ),
    "Step.floor": Guidance(
        "The least that is left of the second moment once the noise is taken off, in parts of the noise's variance.",
        "0.1; a larger one makes steps of hardly known parameters shorter.",
    ),
    "Server.rule": Guidance(
        "`average` is FedAvg; the others keep moments.",
        "`average` with privacy: in what was measured, no other rule ended higher. See docs/optimisers.md.",
    ),
    "Server.beta1": Guidance("Decay of the first moment, for all rules but `average`."),
    "Server.beta2": Guidance("Decay of the second moment, for `adam` and `yogi`."),
    "Server.tau": Guidance("What keeps `adam` and `yogi` from dividing by nearly nothing."),
    "Privacy.unit": Guidance(
        "What is clipped as one: a patient with all records, each record, or a site's whole update. Epsilon is each "
        "patient's in every case.",
        "`patient`. `record` where one patient's records differ and are few; `site` for tens of sites.",
    ),
    "Privacy.neighbouring": Guidance("Which two data sets the promise compares."),
    "Privacy.placement": Guidance(
        "`local`: each site adds all of the noise. `distributed`: sites add shares that sum to one mechanism's "
        "noise. `correlated`: as `local`, with lots in a fixed order instead of lots drawn in secret, and noise that "
        "later steps cancel a part of.",
        "`distributed` has the accuracy of central noise, and one step a round; it holds against so many insiders as "
        "`cohort.colluders` says. `local` needs fewer rounds and trusts nobody. `correlated` is for sites that cannot "
        "draw lots in secret, and for full passes; `consilium study check` shows its noise beside that of `local`. A "
        "site must allow it in its policy (`placements`).",
    ),
    "Privacy.correlation": Guidance("How correlated noise is correlated."),
    "Correlation.matrix": Guidance(
        "`banded`: over `bands` steps, also of the round before. `tree`: by a binary tree for each pass, of which a "
        "site keeps nothing.",
        "`banded`, which is less noisy at the same epsilon. `tree` where a site cannot keep noise between rounds.",
    ),
    "Correlation.bands": Guidance(
        "Over how many steps; at most the lots of a pass. Without it as many as these, up to 64.",
        "Leave it, unless a site would have to keep too much: one vector fewer, each as long as the model.",
    ),
    "Privacy.epsilon": Guidance(
        "The most that a training patient pays in the whole study, or `none`: the model may then reveal its "
        "patients, "
        "and these can never be in a private study again.",
        "1 to 3 are usual. Ask the sites first: their policy and what is left of their grant decide. "
        "`consilium study check FILE --runs 3` says what several runs cost together.",
    ),
    "Privacy.delta": Guidance(
        "The chance with which the promise may fail. Absent with `epsilon: none`.",
        "Below one in the patients of the smallest site, or that site refuses: with 800 patients less than "
        "0.00125, so "
        "0.001.",
    ),
    "Privacy.clipping_norm": Guidance(
        "How long a patient's gradient may be, over all parameters; longer ones are scaled down.",
        "1 for tables scaled as here, whatever the model. A smaller one needs a larger learning rate and gains "
        "nothing "
        "more; the noise is a multiple of it.",
    ),
    "Privacy.adaptive_clipping": Guidance("Let the clipping norm follow the updates; with `unit: site` only."),
    "AdaptiveClipping.quantile": Guidance("Which share of the updates is to stay unclipped.", "0.5, the median."),
    "AdaptiveClipping.rate": Guidance("How fast the norm moves, a round."),
    "AdaptiveClipping.share": Guidance(
        "How loudly a site's answer is sealed; a louder one noises the update more."
    ),
    "Cohort.minimum": Guidance(
        "Sites that a round needs; with fewer the study waits, then stops. At least 3, and at least `colluders` + 2.",
        "One or two below the sites you invite, so that a site may be away; the higher, the more a lone update is "
        "hidden among.",
    ),
    "Cohort.maximum": Guidance(
        "Sites that may be invited.",
        "As many as you invite. Above 32 sites, or with more than 16 bits, an upload is about twice as large.",
    ),
    "Cohort.colluders": Guidance(
        "How many sites may conspire with the coordinator without reading another's update, or thinning the "
        "distributed noise below the promise.",
        "1 for hospitals that know each other; more costs noise where that is distributed, and raises `minimum`.",
    ),
    "Cohort.participation": Guidance(
        "The chance with which a site's update counts in a round; with `unit: site` only.",
        "1 for few sites, 0.5 for many: what is drawn in secret costs less epsilon.",
    ),
    "Cohort.abandon_after_days": Guidance(
        "After so many days without a word of the study a site closes the study's account: what was set aside is "
        "free "
        "again, and the study cannot continue there.",
        "30. Longer if a study may have to wait for people.",
    ),
    "SecureAggregation.scheme": Guidance(
        "`bfv` seals; `paillier` and `lwe` seal small models under the same masks, with other encryption, for "
        "comparison; `open` is a plain sum that the coordinator can read.",
        "`bfv`. A site must allow any other in its policy (`sealing_schemes`, `open_sealing`).",
    ),
    "SecureAggregation.bits": Guidance(
        "Bits of each rounded value; 24 where nothing is written and noise is distributed.",
        "Leave it, unless `consilium study check` names another. With distributed noise a sum over all patients "
        "needs "
        "a wide range, and with few bits rounding makes the noise larger.",
    ),
    "SecureAggregation.value_range": Guidance(
        "The largest value that is sealed, or `auto`. With local noise: of one site's update, larger values are cut "
        "and sent later. With distributed noise: of the sum over all sites in one coordinate, in clipping norms; a "
        "larger sum wraps around and ruins the model, so a number that cannot hold it is refused.",
        "`auto`: with distributed noise every round's range holds the noise and the lots of all sites, by their "
        "public "
        "patient counts; with local noise it holds the longest update, and is refined from the first opened sum "
        "on. To "
        "see it, or to check a number: `consilium study check --patients N`.",
    ),
    "Evaluation.rounds": Guidance(
        "After which rounds the model is scored. `every: 5` may stand for it: every fifth round, and the last one.",
        "Few: with `epsilon` they share it, so that each of many is noisier.",
    ),
    "Evaluation.bins": Guidance(
        "Bins of the score, for each class; even.",
        "100 without noise; 1000 where fewer than one label in ten is positive, or all scores lie close together: "
        "scores in one bin are ties. With one positive in a hundred, an AUROC of 0.76 was 0.69 in 100 bins and 0.76 in "
        "1000. With `epsilon` every cell is noised, empty ones too: 10 to 20.",
    ),
    "Evaluation.records": Guidance(
        "Which records of a test patient count: the `last` one, or `all`.",
        "`all` where every record has a label of its own, such as a patch or an image; with `epsilon` a patient "
        "with up to "
        "so many records then needs as many times the noise.",
    ),
    "Evaluation.epsilon": Guidance(
        "What each test patient pays for all evaluations together, or `none`: they are not protected, which sites "
        "must "
        "allow.",
        "1 for thousands of test patients; 2 to 4 for hundreds. `consilium study show` tells what the noise did.",
    ),
    "Evaluation.patience": Guidance(
        "End the study after so many evaluations without a better model, by the task's first figure.",
        "2 or 3, with an `epsilon` of the totals. What is not used goes back to the sites.",
    ),
    "ReleaseChoice.to": Guidance("Who gets the model: the sites."),
    "ReleaseChoice.model": Guidance(
        "The `last` model, the `best` evaluated one by the first figure of opened totals, or the moving `average` "
        "of all rounds.",
        "`last`; `average` with noise and many rounds; `best` only where totals are calm enough to choose by.",
    ),
    "ReleaseChoice.decay": Guidance(
        "How slowly the moving average follows the model.", "0.8 for ten rounds, 0.95 for a hundred."
    ),
}

THRESHOLD: Final = (
    "There is no key for the threshold: a score of 0.5 or more counts as positive wherever accuracy, sensitivity and "
    "specificity are shown, and is named beside them. To move it, use `task.positive_weight`, or choose one of "
    "your own when you use the released model."
)
