"""The protocol between sites and the coordinator: envelopes, messages, headers, enrolment."""
