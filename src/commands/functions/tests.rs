//! Functions through a whole state.
