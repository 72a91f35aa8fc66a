//! A plan to layers resident on the device, in execution order: the cold start itself
