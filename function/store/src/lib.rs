//! Bytes of one immutable object, by range, into the caller's memory
