"""What sites and the coordinator send each other: envelopes, messages, headers, enrolment."""
