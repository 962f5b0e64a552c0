"""Who a teacher is: an identity made of what an object contains."""
