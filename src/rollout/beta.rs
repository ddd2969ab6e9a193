//! The incomplete beta function. Pure.
