"""The games behind the robust sampler: plain functions, arrays in and arrays out."""
