//! Questions in JSON lines, as ARC, HellaSwag and C-Eval are published, and the text that lm-eval makes of them, so that
//! scores can be compared. A line that is none of these is an error that names it; nothing is guessed or skipped.
//!
//! | format | a line |
//! |---|---|
//! | ARC | `{"question": "…", "choices": {"text": […], "label": […]}, "answerKey": "A"}`, or `"question": {"stem": "…", "choices": [{"text": "…", "label": "A"}, …]}` |
//! | HellaSwag | `{"activity_label": "…", "ctx_a": "…", "ctx_b": "…", "endings": […], "label": 3}`, or `ctx` for both parts, or `"label": "3"` |
//! | C-Eval | `{"question": "…", "A": "…", "B": "…", "C": "…", "D": "…", "answer": "B"}` |

use std::fmt;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::error::Error;
use crate::gguf::shown;

/// A published form of questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The AI2 Reasoning Challenge.
    Arc,
    /// HellaSwag.
    HellaSwag,
    /// C-Eval; what is scored is the letter.
    CEval,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arc => "arc",
            Self::HellaSwag => "hellaswag",
            Self::CEval => "ceval",
        })
    }
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What comes before a choice and a blank.
    pub prompt: String,
    /// The choices.
    pub choices: Vec<String>,
    /// Which of them is right.
    pub answer: usize,
}

impl Question {
    /// It with its answer, as an example for others.
    pub fn example(&self) -> String {
        format!("{} {}\n\n", self.prompt, self.choices[self.answer])
    }
}

/// The questions of `text`, the content of the file at `path`, one a line, and their format; the first line shows it where
/// none is given. Lines of blanks do not count.
///
/// # Errors
/// [`Error::Question`] for the first line that is none, [`Error::Usage`] when there is none at all.
pub fn parse(text: &str, path: &Path, format: Option<Format>) -> Result<(Format, Vec<Question>), Error> {
    let mut format = format;
    let mut questions = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = |why: String| Error::Question { path: path.to_owned(), line: number + 1, why };
        let value: Value = serde_json::from_str(line).map_err(|error| bad(format!("not JSON: {}", shown(&error.to_string()))))?;
        let known = match format {
            Some(format) => format,
            None => recognise(&value).ok_or_else(|| bad("neither ARC's, HellaSwag's nor C-Eval's format; give --format".to_owned()))?,
        };
        format = Some(known);
        let question = match known {
            Format::Arc => arc(&value),
            Format::HellaSwag => hellaswag(&value),
            Format::CEval => ceval(&value),
        }
        .map_err(bad)?;
        questions.push(question);
    }
    match format {
        Some(format) => Ok((format, questions)),
        None => Err(Error::Usage(format!("'{}' has no questions", path.display()))),
    }
}

fn recognise(value: &Value) -> Option<Format> {
    let has = |key: &str| value.get(key).is_some();
    match () {
        () if has("endings") => Some(Format::HellaSwag),
        () if has("A") && has("B") && has("question") => Some(Format::CEval),
        () if has("choices") || value.pointer("/question/choices").is_some() => Some(Format::Arc),
        () => None,
    }
}

/// Choices as objects, with their labels.
fn labelled(items: &[Value]) -> Result<Vec<(&str, &str)>, String> {
    items.iter().map(|item| Ok((text(item, "text")?, text(item, "label")?))).collect()
}

fn arc(value: &Value) -> Result<Question, String> {
    let (question, choices): (&str, Vec<(&str, &str)>) = match value.get("question") {
        Some(Value::String(question)) => {
            let choices = field(value, "choices")?;
            if let Value::Array(items) = choices {
                (question, labelled(items)?)
            } else {
                let (texts, labels) = (texts(choices, "text")?, texts(choices, "label")?);
                if texts.len() != labels.len() {
                    return Err(format!("{} choices have {} labels", texts.len(), labels.len()));
                }
                (question, texts.into_iter().zip(labels).collect())
            }
        }
        Some(question @ Value::Object(_)) => match field(question, "choices")? {
            Value::Array(items) => (text(question, "stem")?, labelled(items)?),
            _ => return Err("'choices' is not a list".to_owned()),
        },
        _ => return Err("'question' is missing, or neither a text nor an object".to_owned()),
    };
    let key = text(value, "answerKey")?;
    let answer = choices.iter().position(|(_, label)| *label == key).ok_or_else(|| format!("no choice is labelled '{}'", shown(key)))?;
    checked(format!("Question: {question}\nAnswer:"), choices.into_iter().map(|(text, _)| text.to_owned()).collect(), answer)
}

fn hellaswag(value: &Value) -> Result<Question, String> {
    let context = match value.get("ctx_a") {
        Some(_) => {
            // Python's capitalize: the first letter large, the others small.
            let second = text(value, "ctx_b")?;
            let mut letters = second.chars();
            let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
            format!("{} {first}{}", text(value, "ctx_a")?, letters.as_str().to_lowercase())
        }
        None => text(value, "ctx")?.to_owned(),
    };
    let before = match value.get("activity_label") {
        Some(_) => format!("{}: {context}", text(value, "activity_label")?),
        None => context,
    };
    let choices: Vec<String> = texts(value, "endings")?.into_iter().map(tidy).collect();
    let answer = match field(value, "label")? {
        Value::Number(label) => label.as_u64(),
        Value::String(label) => label.parse().ok(),
        _ => None,
    };
    let answer = answer.ok_or("'label' is not the number of an ending; the test split has none")?;
    checked(tidy(&before), choices, usize::try_from(answer).unwrap_or(usize::MAX))
}

/// Without the marks of the WikiHow part.
fn tidy(text: &str) -> String {
    static MARKS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\[.*?\]").ok());
    let text = text.trim().replace(" [title]", ". ");
    let text = MARKS.as_ref().map_or_else(|| text.clone(), |marks| marks.replace_all(&text, "").into_owned());
    text.replace("  ", " ")
}

fn ceval(value: &Value) -> Result<Question, String> {
    let letters = ["A", "B", "C", "D"];
    let mut prompt = text(value, "question")?.trim().to_owned();
    for letter in letters {
        // Answers that are numbers were not always quoted on the way from CSV.
        let choice = match field(value, letter)? {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Err(format!("'{letter}' is not a text")),
        };
        prompt.push_str(&format!("\n{letter}. {choice}"));
    }
    prompt.push_str("\n答案：");
    let key = text(value, "answer")?.trim();
    let answer = letters.iter().position(|letter| *letter == key);
    let answer = answer.ok_or_else(|| format!("'answer' is '{}', not a letter from A to D; the test split has none", shown(key)))?;
    checked(prompt, letters.map(str::to_owned).to_vec(), answer)
}

fn checked(prompt: String, choices: Vec<String>, answer: usize) -> Result<Question, String> {
    if choices.len() < 2 {
        return Err(format!("{} choices; there must be at least two", choices.len()));
    }
    if let Some(empty) = choices.iter().position(|choice| choice.trim().is_empty()) {
        return Err(format!("choice {} is empty", empty + 1));
    }
    if answer >= choices.len() {
        return Err(format!("the answer is number {answer} of {} choices, counted from 0", choices.len()));
    }
    if prompt.trim().is_empty() {
        return Err("nothing comes before the choices".to_owned());
    }
    Ok(Question { prompt, choices, answer })
}

fn field<'v>(value: &'v Value, key: &str) -> Result<&'v Value, String> {
    value.get(key).ok_or_else(|| format!("'{key}' is missing"))
}

fn text<'v>(value: &'v Value, key: &str) -> Result<&'v str, String> {
    field(value, key)?.as_str().ok_or_else(|| format!("'{key}' is not a text"))
}

fn texts<'v>(value: &'v Value, key: &str) -> Result<Vec<&'v str>, String> {
    let list = field(value, key)?.as_array().ok_or_else(|| format!("'{key}' is not a list"))?;
    list.iter().map(|item| item.as_str().ok_or_else(|| format!("'{key}' has something that is not a text"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Question {
        let (_, mut questions) = parse(line, Path::new("x"), None).unwrap();
        questions.pop().unwrap()
    }

    #[test]
    fn arc_in_both_forms() {
        let want = Question { prompt: "Question: Why?\nAnswer:".into(), choices: vec!["so".into(), "thus".into()], answer: 1 };
        assert_eq!(one(r#"{"id":"1","question":"Why?","choices":{"text":["so","thus"],"label":["A","B"]},"answerKey":"B"}"#), want);
        let old = r#"{"question":{"stem":"Why?","choices":[{"text":"so","label":"1"},{"text":"thus","label":"2"}]},"answerKey":"2"}"#;
        assert_eq!(one(old), want);
        assert_eq!(want.example(), "Question: Why?\nAnswer: thus\n\n");
    }

    #[test]
    fn hellaswag_is_tidied() {
        let line = r#"{"activity_label":"Cooking","ctx_a":"[header] How to [title] Cook [step] Take  it.","ctx_b":"a MAN","ctx":"-","endings":[" [substeps] stirs.","sits [title] down"],"label":"0"}"#;
        let question = one(line);
        assert_eq!(question.prompt, "Cooking: How to. Cook Take it. A man");
        // The blank that a mark leaves stays, as it does in lm-eval.
        assert_eq!((question.choices, question.answer), (vec![" stirs.".to_owned(), "sits. down".to_owned()], 0));
    }

    #[test]
    fn ceval_asks_for_the_letter() {
        let question = one(r#"{"id":0,"question":"几 ","A":"一","B":2,"C":"三","D":"四","answer":"C","explanation":""}"#);
        assert_eq!(question.prompt, "几\nA. 一\nB. 2\nC. 三\nD. 四\n答案：");
        assert_eq!((question.choices.len(), question.answer), (4, 2));
    }

    #[test]
    fn bad_lines_are_named() {
        let good = r#"{"question":"Why?","choices":{"text":["so","thus"],"label":["A","B"]},"answerKey":"B"}"#;
        let told = |line: &str| parse(&format!("{good}\n\n{line}\n"), Path::new("x.jsonl"), None).unwrap_err().to_string();
        for (line, part) in [
            ("{", "not JSON"),
            ("[]", "'question' is missing"),
            (r#"{"question":"Why?","answerKey":"A"}"#, "'choices' is missing"),
            (r#"{"question":"W","choices":{"text":["a"],"label":["A","B"]},"answerKey":"A"}"#, "1 choices have 2 labels"),
            (r#"{"question":"W","choices":{"text":["a","b"],"label":["A","B"]},"answerKey":"E"}"#, "labelled 'E'"),
            (r#"{"question":"W","choices":{"text":["a"," "],"label":["A","B"]},"answerKey":"A"}"#, "choice 2 is empty"),
            (r#"{"question":"W","choices":{"text":["a"],"label":["A"]},"answerKey":"A"}"#, "at least two"),
            (r#"{"question":"W","choices":{"text":["a",1],"label":["A","B"]},"answerKey":"A"}"#, "not a text"),
        ] {
            let error = told(line);
            assert!(error.starts_with("'x.jsonl', line 3: ") && error.contains(part), "{error}");
        }
        let of = |line: &str, format| parse(line, Path::new("x"), format).unwrap_err().to_string();
        assert!(of("{}", None).contains("give --format"));
        assert!(of("\n \n", None).contains("no questions"));
        assert!(of(r#"{"ctx":"a","endings":["b","c"],"label":""}"#, None).contains("'label'"));
        assert!(of(r#"{"ctx":"a","endings":["b","c"],"label":2}"#, None).contains("number 2 of 2"));
        assert!(of(good, Some(Format::CEval)).contains("'A' is missing"));
        assert!(of(r#"{"question":"a","A":"1","B":"2","C":"3","D":"4","answer":""}"#, None).contains("test split"));
    }
}
