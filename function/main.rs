//! firstlight: from nothing running to the first token.
fn main() {}
