//! Prompt to tokens: tokenizer, chat template, sampler, stop rules
