//! The clock of one cold start: marks and spans, and their forms for people and for tools
