//! The protocol against the real Envoy: being written.
