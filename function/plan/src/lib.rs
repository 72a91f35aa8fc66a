//! Safetensors headers to an ordered fetch plan: pure, no I/O
