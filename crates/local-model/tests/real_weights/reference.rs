//! Compared with two other implementations, once, on the same file (docs/decisions/0039): llama.cpp's token ids, and the scores of a
//! computation in 32-bit floats over the unpacked weights.

use local_model::engine::prompt::{Message, Role};

use crate::model;

/// "What is the capital of France?" in the model's frame, with the system text that its template has by itself.
const FRANCE: &[u32] = &[
    1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411, 407, 19712, 8182, 2, 198,
    1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47, 2, 198, 1, 520, 9531, 198,
];

/// The likeliest tokens after it, and their scores.
const SCORES: &[(usize, f32)] = &[
    (504, 25.3254),
    (60, 25.2433),
    (15319, 24.9424),
    (2219, 24.4017),
    (7026, 24.3146),
    (14925, 24.1343),
    (50, 24.0936),
    (3706, 24.0153),
];

/// "Hello", and an answer that has begun with "Hello! I".
const GREETING: &[u32] = &[
    1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411, 407, 19712, 8182, 2, 198,
    1, 4093, 198, 19556, 2, 198, 1, 520, 9531, 198, 19556, 17, 339,
];

/// The likeliest after it. The first is "'s" and the second "'m", in plain floats too: the weights are what is wrong there, not the way
/// that they are computed with.
const GREETING_SCORES: [(usize, f32); 6] = [
    (506, 31.5676),
    (5248, 30.1933),
    (416, 28.2973),
    (436, 27.7486),
    (417, 27.6236),
    (6737, 27.5212),
];

fn question(text: &str) -> [Message; 1] {
    [Message {
        role: Role::User,
        content: text.to_owned(),
    }]
}

#[test]
fn the_prompt_has_the_tokens_of_llama_cpp() {
    let model = model();
    let tokens = model
        .template
        .tokens(&question("What is the capital of France?"), &model.vocabulary, 1000)
        .expect("a prompt");
    assert_eq!(tokens, FRANCE);
}

#[test]
fn text_has_the_tokens_of_llama_cpp() {
    let model = model();
    let cases: [(&str, &[u32]); 7] = [
        (
            "Hello'Ve world 123\n\n  foo",
            &[19556, 23, 25917, 905, 216, 33, 34, 35, 8866, 29856],
        ),
        (
            "It's 2024-11-30,   \t\n\n naïve café — 你好 🇫🇷👩‍👩‍👧 don't\r\n",
            &[
                1589, 506, 216, 34, 32, 34, 36, 29, 33, 33, 29, 35, 32, 28, 333, 197, 1116, 15486, 46494, 37366, 1841,
                216, 18645, 250, 48392, 138, 15107, 225, 121, 10813, 225, 132, 10813, 235, 119, 321, 231, 10813, 235,
                119, 321, 231, 10813, 235, 117, 1326, 982, 2738,
            ],
        ),
        (
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            &[
                31069, 31069, 31069, 31069, 31069, 31069, 31069, 31069, 31069, 31069, 31069, 31069, 10969,
            ],
        ),
        ("1234567 89", &[33, 34, 35, 36, 37, 38, 39, 216, 40, 41]),
        ("   leading", &[256, 2899]),
        ("trailing   ", &[4861, 4966, 333]),
        (
            "def f(x):\n    return x**2\n",
            &[1604, 275, 24, 104, 727, 472, 1003, 1792, 828, 34, 198],
        ),
    ];
    for (text, expected) in cases {
        let mut tokens = Vec::new();
        model.vocabulary.encode(text, 1000, &mut tokens).expect("tokens");
        assert_eq!(tokens, expected, "{text:?}");
        let bytes: Vec<u8> = tokens
            .iter()
            .flat_map(|token| model.vocabulary.bytes(*token))
            .copied()
            .collect();
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
    }
}

#[test]
fn the_first_scores_are_those_of_plain_floats() {
    let model = model();
    let mut memory = model.network.memory(FRANCE.len());
    let scores = model.network.read(FRANCE, &mut memory, &|| false).expect("scores");
    for (token, expected) in SCORES {
        let found = scores[*token];
        assert!(
            (found - expected).abs() < 0.5,
            "token {token}: {found}, and {expected} in the reference"
        );
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let expected: Vec<usize> = SCORES.iter().map(|(token, _)| *token).collect();
    assert_eq!(order[..4], expected[..4]);
}

/// As an answer is made: its prompt in one piece, and then a token at a time, which is computed with packed numbers.
///
/// Those are rounded, and what is rounded depends on the order in which the processor adds (its vector instructions): scores were up to 0.5 away from
/// the reference on one processor and 0.9 on another, most of it a shift of all of them, which changes no answer. So they are compared with each other.
#[test]
fn the_scores_of_a_token_at_a_time_are_those_of_plain_floats() {
    let model = model();
    let mut memory = model.network.memory(GREETING.len());
    let (prompt, answer) = GREETING.split_at(GREETING.len() - 3);
    let mut scores = Vec::new();
    for tokens in std::iter::once(prompt).chain(answer.chunks(1)) {
        scores = model.network.read(tokens, &mut memory, &|| false).expect("scores");
    }
    let (mut away, mut shift) = ([0.0_f32; GREETING_SCORES.len()], 0.0_f32);
    for (away, (token, expected)) in away.iter_mut().zip(GREETING_SCORES) {
        *away = scores[token] - expected;
        shift += *away / 6.0;
    }
    assert!(shift.abs() < 1.0, "{away:?}");
    assert!(away.iter().all(|away| (away - shift).abs() < 0.8), "{away:?}");
    let likeliest = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    assert_eq!(likeliest, Some(GREETING_SCORES[0].0));
}

/// Read in one piece, in several, or token by token: the same to the rounding of packed numbers.
#[test]
fn scores_depend_little_on_how_a_prompt_is_cut() {
    let model = model();
    let scores_by = |piece: usize| {
        let mut memory = model.network.memory(FRANCE.len());
        let mut scores = Vec::new();
        for tokens in FRANCE.chunks(piece) {
            scores = model.network.read(tokens, &mut memory, &|| false).expect("scores");
        }
        scores
    };
    let whole = scores_by(FRANCE.len());
    for piece in [10, 1] {
        let cut = scores_by(piece);
        let most = whole
            .iter()
            .zip(&cut)
            .map(|(one, other)| (one - other).abs())
            .fold(0.0, f32::max);
        assert!(most < 2.0, "by {piece}: {most}");
    }
}
