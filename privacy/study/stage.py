"""Stages of training: phases of one study, one after another, such as greedy pre-training and then fine-tuning.

Rules:

* a stage has its own objective, layers, rounds and learning rate. Lots, sampling rate and noise are those of the
  whole study, so that every round costs the same, under one accountant;
* in a stage only its layers are trained: those that the model names for the objective, or those of ``trained`` among
  them. The others keep their values, also where sites add noise together: noise on them is dropped, which is
  post-processing;
* the shared vector has the parameters of all stages from the beginning.
"""

from pydantic import Field

from privacy.document import Document
from privacy.fields import LayerName, LearningRate, Name

TASK_OBJECTIVE = "task"


class Stage(Document):
    """A phase of training.

    Attributes:
        name: in tables and cards.
        objective: one of the model's, or ``task``.
        rounds: how many.
        learning_rate: of a step; its schedule begins anew in every stage.
        trained: of the objective's layers, the only ones that are trained; empty means all of them.
    """

    name: Name
    objective: Name = TASK_OBJECTIVE
    rounds: int = Field(ge=1, le=10_000)
    learning_rate: LearningRate
    trained: tuple[LayerName, ...] = ()
