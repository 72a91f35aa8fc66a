//! The embedded S3 server of the demo, the tests and the benches, with a link to shape and faults to inject
