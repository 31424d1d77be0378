"""Whether this site takes part in a study, and what the study would cost: rules, explanations, forecasts."""
