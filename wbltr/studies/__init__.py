"""Studies: many recipes or heads, one question."""
