//! config.json and layers to logits: one file a family
