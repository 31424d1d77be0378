"""A study's terms.

A researcher writes the terms as YAML. They are frozen and hashed (RFC 8785, SHA-256). At launch the coordinator
signs them together with the roster. Every site admits exactly that digest or nothing. Each part of the terms has
its file; the rules between parts are in ``terms.py``.
"""

from privacy.fields import COORDINATOR, MAX_SITES, Column, Epsilon, LayerName, Name, Positive, Sha256, SiteName
from privacy.study.aggregation import Cohort, SchemeName, SecureAggregation
from privacy.study.data.arrays import ArraysContract
from privacy.study.data.columns import Category, Date, Feature, Number, Text
from privacy.study.data.contract import DataContract
from privacy.study.data.events import EventsContract
from privacy.study.data.expression import ExpressionContract
from privacy.study.data.images import ImagesContract
from privacy.study.data.kinds import AnyContract
from privacy.study.data.labels import BinaryLabel
from privacy.study.data.pairs import PairsContract
from privacy.study.data.sequences import SequencesContract
from privacy.study.data.table import TableContract
from privacy.study.evaluation import Choice, Evaluation, ReleaseChoice
from privacy.study.guarantee import AdaptiveClipping, Correlation, Matrix, Neighbouring, Placement, Privacy, Unit
from privacy.study.model import Adapters, Model
from privacy.study.terms import Terms, parse_terms, read_terms
from privacy.study.training import Schedule, Server, ServerRule, Step, StepRule, Training, Weights

__all__ = [
    "COORDINATOR",
    "MAX_SITES",
    "Adapters",
    "AdaptiveClipping",
    "AnyContract",
    "ArraysContract",
    "BinaryLabel",
    "Category",
    "Choice",
    "Cohort",
    "Column",
    "Correlation",
    "DataContract",
    "Date",
    "Epsilon",
    "Evaluation",
    "EventsContract",
    "ExpressionContract",
    "Feature",
    "ImagesContract",
    "LayerName",
    "Matrix",
    "Model",
    "Name",
    "Neighbouring",
    "Number",
    "PairsContract",
    "Placement",
    "Positive",
    "Privacy",
    "ReleaseChoice",
    "Schedule",
    "SchemeName",
    "SecureAggregation",
    "SequencesContract",
    "Server",
    "ServerRule",
    "Sha256",
    "SiteName",
    "Step",
    "StepRule",
    "TableContract",
    "Terms",
    "Text",
    "Training",
    "Unit",
    "Weights",
    "parse_terms",
    "read_terms",
]
