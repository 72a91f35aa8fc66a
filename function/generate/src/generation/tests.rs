//! Whole answers from logits that a scripted model gives.

use super::*;
use crate::tokenizer::tests::{demo_references, demo_tokenizer};
use crate::{Flags, GenerationConfig, SamplingOptions, Settings};

const VOCABULARY: usize = 2048;

/// Logits that make a greedy sampler choose `id`.
fn logits_for(id: u32) -> Vec<f32> {
    let mut logits = vec![0.0; VOCABULARY];
    logits[id as usize] = 1.0;
    logits
}

fn rules(strings: &[&str], ids: &[u32], max_tokens: u32) -> StopRules {
    let strings = strings.iter().map(|&string| string.to_owned()).collect();
    StopRules::new(strings, ids.to_vec(), max_tokens).unwrap()
}

fn start(prompt_ids: &[u32], stop: StopRules, context_length: usize) -> Result<Generation> {
    let sampling = Sampling::new(SamplingOptions::default()).unwrap();
    let vocabulary_size = VOCABULARY;
    let request = GenerationRequest { prompt_ids, sampling, stop, context_length, vocabulary_size };
    Generation::new(&demo_tokenizer(), request)
}

/// Steps through `answer` until the generation ends: its text, why it ended and after how many
/// tokens.
fn write(mut generation: Generation, answer: &[u32]) -> (String, Option<Finish>, usize) {
    let mut text = String::new();
    for &id in answer {
        let step = generation.step(&logits_for(id)).unwrap();
        assert_eq!(step.token, id);
        text += &step.text;
        if step.finish.is_some() {
            break;
        }
    }
    (text, generation.finish(), generation.generated_tokens())
}

fn ids_of(text: &str) -> Vec<u32> {
    demo_tokenizer().encode(text, false).unwrap()
}

#[test]
fn the_reference_continuations_are_written() {
    for reference in demo_references() {
        let length = u32::try_from(reference.greedy_ids.len()).unwrap();
        let generation = start(&reference.ids, rules(&[], &[1], length), 512).unwrap();
        let (text, finish, _) = write(generation, &reference.greedy_ids);
        assert_eq!((text, finish), (reference.greedy_text, Some(Finish::Length)));
    }
}

#[test]
fn a_stop_id_ends_the_answer_and_is_not_shown() {
    let stop_at_dot = ids_of(".")[0];
    let answer = [ids_of(" fox"), vec![stop_at_dot], ids_of(" more")].concat();
    let generation = start(&[0], rules(&[], &[stop_at_dot], 99), 512).unwrap();
    let (text, finish, _) = write(generation, &answer);
    assert_eq!((text.as_str(), finish), (" fox", Some(Finish::Stop)));
}

#[test]
fn a_stop_string_over_several_tokens_ends_the_answer_before_it() {
    let answer = ids_of(" said the fox.\n\nThe owl");
    let generation = start(&[0], rules(&["x.\n\nT"], &[], 99), 512).unwrap();
    let (text, finish, tokens) = write(generation, &answer);
    assert_eq!((text.as_str(), finish), (" said the fo", Some(Finish::StopString)));
    assert!(tokens < answer.len());
}

#[test]
fn neither_a_stop_id_nor_a_stop_string_ends_an_answer_that_is_too_short() {
    let [the, fox] = [ids_of(" the")[0], ids_of(" fox")[0]];
    let least = |tokens| rules(&[" the"], &[fox], 9).not_before(tokens).unwrap();
    let mut generation = start(&[0], least(2), 512).unwrap();
    let mut logits = logits_for(fox);
    logits[the as usize] = 0.5;
    for _ in 0..2 {
        assert!(generation.draw().is_none(), "a device does not know what ends an answer");
        let step = generation.step(&logits).unwrap();
        assert_eq!((step.token, step.text.as_str(), step.finish), (the, " the", None));
    }
    assert!(generation.draw().is_some());
    assert_eq!(generation.step(&logits).unwrap().finish, Some(Finish::Stop));

    let (text, finish, _) = write(start(&[0], least(2), 512).unwrap(), &[the, the, the]);
    assert_eq!((text.as_str(), finish), (" the the", Some(Finish::StopString)));
    let all = rules(&[" the"], &[], 2).not_before(2).unwrap();
    let (text, finish, _) = write(start(&[0], all, 512).unwrap(), &[the, the]);
    assert_eq!((text.as_str(), finish), (" the the", Some(Finish::Length)));
}

#[test]
fn text_that_was_held_back_comes_with_the_last_step() {
    let answer = ids_of("ab\n");
    let length = u32::try_from(answer.len()).unwrap();
    let generation = start(&[0], rules(&["b\n\n"], &[], length), 512).unwrap();
    let (text, finish, _) = write(generation, &answer);
    assert_eq!((text.as_str(), finish), ("ab\n", Some(Finish::Length)));
    let half_a_character = &ids_of("a😀")[..3];
    let generation = start(&[0], rules(&[], &[], 3), 512).unwrap();
    assert_eq!(write(generation, half_a_character).0, "a\u{FFFD}");
    let before_the_end = [&ids_of("ab"), &[1][..]].concat();
    let generation = start(&[0], rules(&["bc"], &[1], 9), 512).unwrap();
    assert_eq!(write(generation, &before_the_end).0, "ab");
}

#[test]
fn the_answer_ends_where_the_context_does() {
    let generation = start(&[0; 5], rules(&[], &[], 99), 8).unwrap();
    let (text, finish, tokens) = write(generation, &ids_of("abcdefgh"));
    assert_eq!((finish, tokens), (Some(Finish::ContextFull), 3));
    assert!("abcdefgh".starts_with(&text));
    let exactly = start(&[0; 5], rules(&[], &[], 3), 8).unwrap();
    assert_eq!(write(exactly, &ids_of("!!!!")).1, Some(Finish::Length));
}

#[test]
fn prompts_that_cannot_be_answered_are_refused_with_their_numbers() {
    let refused = |ids: &[u32]| start(ids, rules(&[], &[], 1), 8).unwrap_err().to_string();
    assert!(refused(&[]).starts_with("the prompt has no tokens"));
    let full = refused(&[0; 8]);
    assert!(full.contains("has 8 tokens, the model's context holds 8"), "{full}");
    assert!(full.contains("shorten the prompt by 1 tokens"), "{full}");
    assert!(refused(&[0; 11]).contains("shorten the prompt by 4 tokens"));
    let foreign = refused(&[0, 7, 2048]);
    assert!(foreign.starts_with("token 2 of the prompt has the id 2048"), "{foreign}");
    assert!(foreign.contains("ends before 2048"), "{foreign}");
    assert!(start(&[0; 7], rules(&[], &[], 1), 8).is_ok());
}

#[test]
fn a_row_of_logits_that_is_wrong_is_an_error_and_the_answer_goes_on() {
    let mut generation = start(&[0], rules(&[], &[], 9), 512).unwrap();
    let short = generation.step(&[0.0; 3]).unwrap_err().to_string();
    assert_eq!(short, "the model gave 3 logits for a vocabulary of 2048");
    assert!(matches!(generation.step(&[f32::NAN; VOCABULARY]), Err(Error::BadLogits { .. })));
    assert_eq!(generation.generated_tokens(), 0);
    assert_eq!(generation.step(&logits_for(66)).unwrap().text, "a");
}

#[test]
#[should_panic(expected = "no step follows")]
fn a_step_after_the_last_is_a_bug_of_the_caller() {
    let mut generation = start(&[0], rules(&[], &[], 1), 512).unwrap();
    assert_eq!(generation.step(&logits_for(66)).unwrap().finish, Some(Finish::Length));
    let _ = generation.step(&logits_for(66));
}

#[test]
fn settings_from_the_model_s_files_drive_a_generation() {
    let config = GenerationConfig { eos_token_id: vec![1], ..GenerationConfig::default() };
    let flags = Flags { stop_strings: vec!["fox".to_owned()], ..Flags::default() };
    let Settings { sampling, stop } = Settings::merge(flags, &config).unwrap();
    let request = GenerationRequest {
        prompt_ids: &[0],
        sampling,
        stop,
        context_length: 512,
        vocabulary_size: VOCABULARY,
    };
    let generation = Generation::new(&demo_tokenizer(), request).unwrap();
    let (text, finish, _) = write(generation, &ids_of("A red fox ran"));
    assert_eq!((text.as_str(), finish), ("A red ", Some(Finish::StopString)));
}

#[test]
fn a_generation_can_move_to_the_thread_that_computes() {
    fn is_send<T: Send + 'static>() {}
    is_send::<Generation>();
}
