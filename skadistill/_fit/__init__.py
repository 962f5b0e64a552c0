"""What one fit carries: its state, its records, the pool, the inputs and the plan."""
