//! Multiple choice: what is scored, and the program with files of each format.

mod common;

use common::data;
use common::program::{self, qwen2};
use qwen2::Tokenizer;
use qwen2::eval::task::Question;
use qwen2::eval::{Encoded, ask};
use qwen2::graph::Session;
use qwen2::model::Model;
use qwen2::perplexity::log_sum_exp;
use serde_json::Value;

fn embedded() -> (Tokenizer, Model) {
    let mut file = qwen2::embedded().unwrap();
    let tokenizer = Tokenizer::from_gguf(&mut file).unwrap();
    let model = Model::from_gguf(&file, tokenizer.len(), qwen2::baked::select(None).unwrap(), 2, &mut |_, _| {}).unwrap();
    (tokenizer, model)
}

fn question(prompt: &str, choices: &[&str], answer: usize) -> Question {
    Question { prompt: prompt.into(), choices: choices.iter().map(|choice| choice.to_string()).collect(), answer }
}

/// A choice's log-likelihood, token by token.
fn plainly(tokenizer: &Tokenizer, model: &Model, prompt: &str, choice: &str) -> f64 {
    let (before, all) = (tokenizer.encode(prompt).unwrap().len(), tokenizer.encode(&format!("{prompt} {choice}")).unwrap());
    let mut session = Session::new(model, all.len(), 512).unwrap();
    let mut sum = 0.0;
    for (at, pair) in all.windows(2).enumerate() {
        let logits = session.feed(&pair[..1]).unwrap();
        if at + 1 >= before {
            sum += f64::from(logits[pair[1] as usize]) - log_sum_exp(logits);
        }
    }
    sum
}

#[test]
fn the_likeliest_choice_is_found_by_sum_and_by_length() {
    let (tokenizer, model) = embedded();
    let questions = [
        ("A vector is", vec!["a growable array type", "xylophone", "borrowed"]),
        (
            "Returns `Some` if the value is present, otherwise returns",
            vec!["`None`", "`None` and then a very long text of many words", "17"],
        ),
        ("The borrow checker", vec!["is", "checks that references are valid", "of of of"]),
        ("Iterators are", vec!["lazy", "elephants", "lazy", "values"]),
    ];
    for (number, (prompt, choices)) in questions.iter().enumerate() {
        let scores: Vec<f64> = choices.iter().map(|choice| plainly(&tokenizer, &model, prompt, choice)).collect();
        let best = |score: &dyn Fn(usize) -> f64| (0..scores.len()).rev().max_by(|a, b| score(*a).total_cmp(&score(*b))).unwrap();
        let (by_sum, by_length) = (best(&|i| scores[i]), best(&|i| scores[i] / choices[i].len() as f64));
        for answer in 0..choices.len() {
            let encoded = Encoded::new(&tokenizer, "", &question(prompt, choices, answer)).unwrap();
            let found = ask(&model, &[encoded], |_, _| {}).unwrap();
            let want = (f64::from(u8::from(answer == by_sum)), f64::from(u8::from(answer == by_length)));
            assert_eq!((found.acc.value, found.acc_norm.value), want, "question {number}, choice {answer} of {scores:?}");
            assert!(found.acc.error.is_none());
        }
    }
}

#[test]
fn what_is_shared_is_read_once() {
    let (tokenizer, model) = embedded();
    let examples = "Question: What is a vector?\nAnswer: a growable array\n\n".repeat(4);
    let ask_for = |count: usize| {
        let encode =
            |number| Encoded::new(&tokenizer, &examples, &question(&format!("Question: {number}?\nAnswer:"), &["yes", "no"], 0)).unwrap();
        let encoded: Vec<Encoded> = (0..count).map(encode).collect();
        let mut told = Vec::new();
        let found = ask(&model, &encoded, |done, right| told.push((done, right))).unwrap();
        assert_eq!(told.last().unwrap(), &(count, (found.acc.value * count as f64).round() as usize));
        (found.tokens, encoded[0].longest())
    };
    let ((one, longest), (three, _)) = (ask_for(1), ask_for(3));
    assert!(longest > 60 && one < longest + 4 && three < longest + 50, "{longest}, {one}, {three}");
    assert!(ask(&model, &[], |_, _| {}).is_err());
}

#[test]
fn what_exceeds_the_context_loses_its_beginning() {
    let (tokenizer, model) = embedded();
    let long = question(&format!("{} The borrow", "word ".repeat(3000)), &["checker", "17"], 0);
    let found = ask(&model, &[Encoded::new(&tokenizer, "", &long).unwrap()], |_, _| {}).unwrap();
    assert_eq!((found.cut, found.questions), (1, 1));
}

fn json(args: &[&str]) -> Value {
    program::json(&mut qwen2(args))
}

#[track_caller]
fn refused(args: &[&str], part: &str) {
    program::refused(&mut qwen2(args), part);
}

const ARC: &str = r#"{"id":"a","question":"What grows?","choices":{"text":["a vector","an array"],"label":["A","B"]},"answerKey":"A"}
{"id":"b","question":{"stem":"What is lazy?","choices":[{"text":"an iterator","label":"1"},{"text":"17","label":"2"}]},"answerKey":"1"}

{"id":"c","question":"What moves?","choices":{"text":["a value","of of"],"label":["A","B"]},"answerKey":"A"}
"#;
const HELLASWAG: &str =
    r#"{"activity_label":"Rust","ctx_a":"A value is moved.","ctx_b":"it","endings":["is dropped.","sings."],"label":0}"#;
const CEVAL: &str = r#"{"id":0,"question":"1+1=","A":"1","B":"2","C":"3","D":"4","answer":"B"}"#;

#[test]
fn the_program_asks() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (arc, hellaswag, ceval) = (file("arc", ARC), file("hellaswag", HELLASWAG), file("ceval", CEVAL));
    let all = json(&["eval", "--task", &arc, "--json"]);
    assert_eq!((&all["questions"], &all["format"], &all["shots"]), (&3.into(), &"arc".into(), &0.into()));
    assert!(all["acc"].is_f64() && all["acc_stderr"].is_f64() && all["acc_norm"].is_f64());
    assert_eq!(json(&["eval", "--task", &arc, "--json", "--limit", "2"])["questions"], 2);
    assert_eq!(json(&["eval", "--task", &arc, "--json", "--shots", "2"])["questions"], 1);
    assert_eq!(json(&["eval", "--task", &hellaswag, "--json"])["format"], "hellaswag");
    let model = data("rustdoc-f16.gguf");
    let model = model.to_str().unwrap();
    let shot = json(&["eval", "-m", model, "--task", &ceval, "--json", "--shots", "1", "--shots-from", &ceval, "--description", "以下"]);
    assert_eq!((&shot["format"], &shot["questions"], &shot["acc"]), (&"ceval".into(), &1.into(), &shot["acc_norm"]));
    let table = String::from_utf8(qwen2(&["eval", "--task", &arc]).output().unwrap().stdout).unwrap();
    assert!(table.contains("questions  3 (arc, 0 shots)") && table.contains("acc_norm"), "{table}");

    refused(&["eval", "--task", "/no/such/file"], "cannot read '/no/such/file'");
    refused(&["eval"], "--task <FILE>");
    refused(&["eval", "--task", &arc, "--format", "ceval"], "line 1: 'A' is missing");
    refused(&["eval", "--task", &arc, "--format", "mmlu"], "mmlu");
    refused(&["eval", "--task", &arc, "--shots", "3"], "has 3 questions");
    refused(&["eval", "--task", &arc, "--shots", "4", "--shots-from", &arc], "has 3 questions");
    refused(&["eval", "--task", &arc, "--limit", "0"], "--limit");
    refused(&["eval", "--task", &file("bad", &format!("{ARC}{{\"question\":"))], "line 5: not JSON");
    refused(&["eval", "--task", &file("empty", "")], "has no questions");
}
