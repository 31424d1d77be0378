"""From events, in tables, OMOP or FHIR, to the tensors of a contract of kind ``events``."""
