"""Whether this site takes part in a study, and what it would cost: rules, explanations, forecasts."""
