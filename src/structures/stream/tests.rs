//! Tests of the whole structure against a naive model.
