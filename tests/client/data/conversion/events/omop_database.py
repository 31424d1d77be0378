"""A small database of the OMOP common data model 5.4: the columns that are read, of four invented patients.

Person 1 has everything; person 2 only the year of birth; person 3 has a diagnosis without a concept and died; person 4
has an observation period and one visit.
"""

from typing import Final

SCHEMA: Final = """
CREATE TABLE person (person_id integer, gender_concept_id integer, year_of_birth integer, month_of_birth integer,
    day_of_birth integer, birth_datetime timestamp, race_source_value varchar(50), ethnicity_source_value varchar(50));
CREATE TABLE observation_period (person_id integer, observation_period_end_date date);
CREATE TABLE visit_occurrence (visit_occurrence_id integer, person_id integer, visit_start_date date,
    visit_start_datetime timestamp, visit_end_date date, visit_end_datetime timestamp);
CREATE TABLE condition_occurrence (person_id integer, visit_occurrence_id integer, condition_concept_id integer,
    condition_source_concept_id integer, condition_start_date date, condition_start_datetime timestamp);
CREATE TABLE drug_exposure (person_id integer, visit_occurrence_id integer, drug_concept_id integer,
    drug_source_concept_id integer, drug_exposure_start_date date, drug_exposure_start_datetime timestamp);
CREATE TABLE procedure_occurrence (person_id integer, visit_occurrence_id integer, procedure_concept_id integer,
    procedure_source_concept_id integer, procedure_date date, procedure_datetime timestamp);
CREATE TABLE measurement (person_id integer, visit_occurrence_id integer, measurement_concept_id integer,
    measurement_source_concept_id integer, measurement_date date, measurement_datetime timestamp,
    operator_concept_id integer, value_as_number numeric, unit_concept_id integer, unit_source_value varchar(50));
CREATE TABLE note (person_id integer, visit_occurrence_id integer, note_class_concept_id integer, note_date date,
    note_datetime timestamp, note_text text);
CREATE TABLE death (person_id integer, death_date date, death_datetime timestamp);
CREATE TABLE concept (concept_id integer, vocabulary_id varchar(20), concept_code varchar(50));
"""
SCRIPT: Final = (
    SCHEMA
    + """
INSERT INTO concept VALUES (1, 'ICD10CM', 'E11.9'), (2, 'SNOMED', '44054006'), (3, 'LOINC', '2345-7'),
    (4, 'UCUM', 'mg/dL'), (5, 'RxNorm', '860975'), (6, 'Read', 'C10F.'), (0, 'None', 'No matching concept');
INSERT INTO person VALUES (1, 8532, 1960, 5, 2, '1960-05-02 00:00:00', 'white', NULL),
    (2, 8507, 1970, NULL, NULL, NULL, NULL, NULL), (3, 0, 1980, 12, NULL, NULL, NULL, NULL),
    (4, 8507, 1990, 3, 14, NULL, NULL, NULL);
INSERT INTO observation_period VALUES (4, '2021-12-31'), (4, '2020-12-31');
INSERT INTO visit_occurrence VALUES (10, 1, '2020-01-01', '2020-01-01 08:00:00', '2020-01-02', '2020-01-02 10:00:00'),
    (20, 2, '2020-02-01', NULL, NULL, NULL), (30, 3, '2020-03-01', NULL, '2020-03-01', NULL),
    (40, 4, '2020-04-01', NULL, '2020-04-01', NULL);
INSERT INTO condition_occurrence VALUES (1, 10, 2, 1, '2020-01-01', '2020-01-01 09:00:00'),
    (2, 20, 2, 1, '2020-02-01', NULL), (3, 30, 0, 0, '2020-03-01', NULL),
    (4, 40, 6, 6, '2020-04-01', NULL);
INSERT INTO drug_exposure VALUES (1, NULL, 5, 5, '2020-01-02', NULL);
INSERT INTO measurement VALUES (1, 10, 3, 3, '2020-01-01', '2020-01-01 12:00:00', 4172703, 180.5, 4, 'mg/dl'),
    (2, 20, 3, 3, '2020-02-01', NULL, NULL, 10, 0, 'mmol/L'), (3, 30, 3, 3, '2020-03-01', NULL, 0, NULL, 4, 'mg/dl'),
    (4, 40, 3, 3, '2020-04-01', NULL, 4171756, 40, 4, 'mg/dl');
INSERT INTO note VALUES (4, 40, 0, '2020-04-01', NULL, 'Type 2 diabetes: known.');
INSERT INTO death VALUES (3, '2020-05-01', NULL);
"""
)
