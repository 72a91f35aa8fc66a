//! The sampler against a naive one that sorts everything, and against the frequencies that it
//! should have.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn sampler(options: SamplingOptions, prompt_ids: &[u32]) -> Sampler {
    Sampler::new(Sampling::new(options).unwrap(), prompt_ids)
}

fn warm() -> SamplingOptions {
    SamplingOptions { temperature: 1.0, ..SamplingOptions::default() }
}

/// The ids that may be drawn, ascending.
fn kept(options: SamplingOptions, logits: &[f32]) -> Vec<u32> {
    let mut sampler = sampler(options, &[]);
    sampler.sample(logits).unwrap();
    let mut ids: Vec<u32> = sampler.candidates.iter().map(|candidate| candidate.id).collect();
    ids.sort_unstable();
    ids
}

/// The same by definition: everything is sorted, every rule walks down the list.
fn kept_naively(options: SamplingOptions, logits: &[f32]) -> Vec<u32> {
    let maximum = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let temperature = f64::from(options.temperature);
    let mut sorted: Vec<(u32, f32, f64)> = (0..)
        .zip(logits)
        .map(|(id, &l)| (id, l, ((f64::from(l) - maximum) / temperature).exp()))
        .filter(|&(_, _, weight)| weight > 0.0)
        .collect();
    sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    if options.top_k > 0 && sorted.len() > options.top_k as usize {
        let last = sorted[options.top_k as usize - 1].1;
        sorted.retain(|&(_, logit, _)| logit >= last);
    }
    if options.top_p < 1.0 {
        let mut by_id = sorted.clone();
        by_id.sort_by_key(|&(id, _, _)| id);
        let wanted = f64::from(options.top_p) * by_id.iter().map(|token| token.2).sum::<f64>();
        let mut mass = 0.0;
        let mass_before = sorted.iter().map(|token| {
            let before = mass;
            mass += token.2;
            before
        });
        let count = mass_before.take_while(|&before| before < wanted).count();
        sorted.truncate(count);
    }
    sorted.retain(|&(_, _, weight)| weight >= f64::from(options.min_p));
    let mut ids: Vec<u32> = sorted.into_iter().map(|(id, _, _)| id).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn greedy_takes_the_likeliest_and_of_equals_the_first() {
    let mut greedy = sampler(SamplingOptions::default(), &[]);
    assert_eq!(greedy.sample(&[0.5, 2.0, 2.0, -1.0]).unwrap(), 1);
    assert_eq!(greedy.sample(&[f32::NEG_INFINITY, -7.0]).unwrap(), 1);
}

#[test]
fn logits_that_are_no_numbers_are_an_error_that_counts_them() {
    for mut sampler in [sampler(SamplingOptions::default(), &[]), sampler(warm(), &[])] {
        let error = sampler.sample(&[f32::NAN; 4]).unwrap_err().to_string();
        assert!(error.starts_with("4 of 4 logits are not a number or infinite"), "{error}");
        let error = sampler.sample(&[0.0, 1.0, f32::INFINITY, f32::NAN]).unwrap_err().to_string();
        assert!(error.contains("2 of 4") && error.contains("token 2"), "{error}");
        let ruled_out = sampler.sample(&[f32::NEG_INFINITY; 3]).unwrap_err();
        assert!(matches!(ruled_out, Error::NoFiniteLogit { total: 3 }));
        assert!(matches!(sampler.sample(&[]), Err(Error::NoFiniteLogit { total: 0 })));
    }
}

#[test]
fn repetition_weakens_tokens_of_the_prompt_and_of_the_answer() {
    let options = SamplingOptions { repetition_penalty: 2.0, ..SamplingOptions::default() };
    assert_eq!(sampler(options, &[0, 0]).sample(&[3.0, 2.0]).unwrap(), 1);
    assert_eq!(sampler(options, &[0, 0]).sample(&[5.0, 2.0]).unwrap(), 0, "once, not twice");
    assert_eq!(sampler(options, &[0]).sample(&[-1.0, -1.5]).unwrap(), 1);
    let mut answer = sampler(options, &[]);
    assert_eq!(answer.sample(&[3.0, 2.0]).unwrap(), 0);
    assert_eq!(answer.sample(&[3.0, 2.0]).unwrap(), 1);
}

#[test]
fn frequency_and_presence_look_at_the_answer_alone_and_frequency_counts() {
    let frequency = SamplingOptions { frequency_penalty: 1.0, ..SamplingOptions::default() };
    let mut answer = sampler(frequency, &[0]);
    let tokens: Vec<u32> = (0..5).map(|_| answer.sample(&[2.5, 1.0]).unwrap()).collect();
    assert_eq!(tokens, [0, 0, 1, 0, 1]);
    let presence = SamplingOptions { presence_penalty: 2.0, ..SamplingOptions::default() };
    let mut answer = sampler(presence, &[0]);
    let tokens: Vec<u32> = (0..4).map(|_| answer.sample(&[2.5, 1.0]).unwrap()).collect();
    assert_eq!(tokens, [0, 1, 0, 0]);
}

#[test]
fn penalties_leave_ruled_out_tokens_and_foreign_ids_alone() {
    let options = SamplingOptions {
        repetition_penalty: 1.5,
        frequency_penalty: -2.0,
        ..SamplingOptions::default()
    };
    let mut answer = sampler(options, &[1, 999]);
    assert_eq!(answer.sample(&[-1.0, f32::NEG_INFINITY]).unwrap(), 0);
}

#[test]
fn penalties_on_extreme_logits_leave_something_to_draw() {
    let options = SamplingOptions { repetition_penalty: 0.01, ..warm() };
    assert!(sampler(options, &[0, 1]).sample(&[f32::MAX, f32::MAX]).is_ok());
    let options = SamplingOptions { repetition_penalty: 100.0, ..warm() };
    assert!(sampler(options, &[0, 1]).sample(&[f32::MIN, f32::MIN]).is_ok());
}

#[test]
fn ties_with_the_last_of_the_top_k_are_kept() {
    let options = SamplingOptions { top_k: 2, ..warm() };
    assert_eq!(kept(options, &[1.0, 3.0, 2.0, 2.0, 0.0]), [1, 2, 3]);
}

#[test]
fn the_smallest_top_p_and_the_largest_min_p_leave_the_likeliest() {
    let logits = [0.0, 1.0, 0.5];
    assert_eq!(kept(SamplingOptions { top_p: 1e-9, ..warm() }, &logits), [1]);
    assert_eq!(kept(SamplingOptions { min_p: 1.0, ..warm() }, &logits), [1]);
    assert_eq!(kept(SamplingOptions { temperature: 1e-30, ..warm() }, &logits), [1]);
}

#[test]
fn a_whole_vocabulary_of_equals_is_drawn_from_to_its_end() {
    let options = SamplingOptions { top_p: 0.9, top_k: 10, ..warm() };
    assert_eq!(kept(options, &vec![1.0; 5000]).len(), 4500);
}

/// Written down once: a change of the generator or of the order of the rules shows here.
#[test]
fn a_seed_gives_the_same_tokens_on_every_machine() {
    let logits: Vec<f32> = (0..1000u16).map(|i| f32::from(i * 37 % 101) / 20.0).collect();
    let tokens = |seed| {
        let options = SamplingOptions { seed, top_k: 100, top_p: 0.9, min_p: 0.05, ..warm() };
        let mut sampler = sampler(options, &[]);
        (0..8).map(|_| sampler.sample(&logits).unwrap()).collect::<Vec<u32>>()
    };
    assert_eq!(tokens(7), [674, 464, 262, 939, 292, 221, 210, 393]);
    assert_eq!(tokens(7), tokens(7));
    assert_ne!(tokens(7), tokens(8));
}

#[test]
fn a_device_may_draw_by_what_it_can_do() {
    let draw = |options| sampler(options, &[]).draw();
    let greedy = draw(SamplingOptions { min_p: 0.5, ..SamplingOptions::default() }).unwrap();
    assert_eq!((greedy.temperature, greedy.uniform), (0.0, 0.0));
    let options = SamplingOptions { temperature: 0.7, top_k: 5, top_p: 0.9, ..warm() };
    let drawn = draw(options).unwrap();
    assert_eq!((drawn.temperature, drawn.top_k, drawn.top_p), (0.7, 5, 0.9));
    assert!((0.0..1.0).contains(&drawn.uniform));
    assert_eq!(draw(SamplingOptions { min_p: 0.1, ..warm() }), None);
    assert_eq!(draw(SamplingOptions { presence_penalty: 0.1, ..SamplingOptions::default() }), None);
    assert_eq!(draw(SamplingOptions { repetition_penalty: 1.1, ..warm() }), None);
}

/// Whoever chooses, and however often it was offered: token after token has the same random number.
#[test]
fn an_offer_to_the_device_changes_no_choice() {
    let logits: Vec<f32> = (0..100u16).map(|i| f32::from(i * 37 % 101) / 20.0).collect();
    let [mut offered, mut alone] = [(); 2].map(|()| sampler(warm(), &[]));
    for round in 0..20 {
        let token = alone.sample(&logits).unwrap();
        let draw = offered.draw();
        assert_eq!(offered.draw(), draw, "asked again");
        if round % 3 == 0 {
            offered.accept(token);
        } else {
            assert_eq!(offered.sample(&logits).unwrap(), token, "round {round}");
        }
        assert_ne!(offered.draw(), draw);
    }
}

/// Pearson's statistic over 7 degrees of freedom: above 24.3 with a probability of 0.001.
#[test]
fn tokens_are_drawn_as_often_as_their_probabilities_say() {
    let logits = [0.0, 0.5, 1.0, 1.5, 2.0, -1.0, 0.25, 1.25];
    let temperature = 0.7;
    let mut sampler = sampler(SamplingOptions { temperature, seed: 1, ..warm() }, &[]);
    let draws = 20_000u32;
    let mut seen = [0u32; 8];
    for _ in 0..draws {
        seen[sampler.sample(&logits).unwrap() as usize] += 1;
    }
    let weights = logits.map(|logit| (f64::from(logit) / f64::from(temperature)).exp());
    let total: f64 = weights.iter().sum();
    let statistic: f64 = weights
        .iter()
        .zip(seen)
        .map(|(weight, seen)| {
            let expected = weight / total * f64::from(draws);
            (f64::from(seen) - expected).powi(2) / expected
        })
        .sum();
    assert!(statistic < 24.3, "{statistic}");
}

/// Few different values, so that there are ties, and some tokens that are ruled out.
fn logits() -> impl Strategy<Value = Vec<f32>> {
    let logit = prop_oneof![
        4 => (-40i16..40).prop_map(|step| f32::from(step) / 8.0),
        4 => -5.0f32..5.0,
        1 => Just(f32::NEG_INFINITY),
    ];
    vec(logit, 1..900).prop_filter("one token at least", |logits| {
        logits.iter().any(|&logit| logit > f32::NEG_INFINITY)
    })
}

proptest! {
    #[test]
    fn the_rules_keep_what_sorting_everything_keeps(
        logits in logits(),
        top_k in prop_oneof![Just(0u32), 1u32..40, 1u32..2000],
        top_p in prop_oneof![Just(1.0f32), 0.01f32..1.0],
        min_p in prop_oneof![Just(0.0f32), 0.0f32..1.0],
        temperature in 0.05f32..3.0,
    ) {
        let options = SamplingOptions { temperature, top_k, top_p, min_p, ..warm() };
        prop_assert_eq!(kept(options, &logits), kept_naively(options, &logits));
    }

    #[test]
    fn the_drawn_token_is_one_of_those_kept(logits in logits(), seed: u64) {
        let options = SamplingOptions { top_k: 5, top_p: 0.5, seed, ..warm() };
        let id = sampler(options, &[]).sample(&logits).unwrap();
        prop_assert!(kept_naively(options, &logits).contains(&id));
    }

    #[test]
    fn the_kth_largest_is_that_of_a_sorted_list(logits in logits(), k in 1usize..1000) {
        let mut sorted = logits.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let expected = sorted.get(k - 1).copied().unwrap_or(f32::NEG_INFINITY);
        prop_assert_eq!(kth_largest(&logits, k).to_bits(), expected.to_bits());
    }
}
