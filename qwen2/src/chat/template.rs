//! Chat templates: the Jinja program in a model's file that turns messages into the text that the model was trained on.
//!
//! A template is a stranger's program: it sees the messages and nothing else, and may compute only so much.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value};

use crate::error::Error;
use crate::gguf::shown;

/// Qwen2's form of a chat, for files without a template.
const CHATML: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}\
{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Instructions that rendering may take: a thousand messages take less.
const FUEL: u64 = 10_000_000;

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Whoever runs the program.
    System,
    /// Whoever talks with the model.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// What templates call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One message of a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who wrote it.
    pub role: Role,
    /// Its text.
    pub content: String,
}

/// A chat template.
#[derive(Debug)]
pub struct Template {
    environment: Environment<'static>,
    source: String,
}

impl Template {
    /// The template `source`, or Qwen2's own form, ChatML, without one.
    ///
    /// # Errors
    /// [`Error::Template`] when it is malformed.
    pub fn new(source: Option<&str>) -> Result<Self, Error> {
        let mut environment = Environment::new();
        // As transformers does.
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(wrong)?);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |why: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, why))
        });
        let source = source.unwrap_or(CHATML).to_owned();
        environment.template_from_str(&source).map_err(wrong)?;
        Ok(Self { environment, source })
    }

    /// The text of `messages`, and with `reply` what comes before the model's next one.
    ///
    /// # Errors
    /// [`Error::Template`] when it refuses them or computes for too long.
    pub fn render(&self, messages: &[Message], reply: bool) -> Result<String, Error> {
        let template = self.environment.template_from_str(&self.source).map_err(wrong)?;
        let values = |message: &Message| Value::from_pairs([("role", message.role.name()), ("content", &message.content)]);
        let messages: Vec<Value> = messages.iter().map(values).collect();
        let values =
            minijinja::context! { messages => messages, add_generation_prompt => reply, bos_token => "", eos_token => "<|im_end|>" };
        template.render(values).map_err(wrong)
    }
}

fn wrong(error: minijinja::Error) -> Error {
    Error::Template(shown(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages() -> Vec<Message> {
        let message = |role, content: &str| Message { role, content: content.to_owned() };
        vec![message(Role::System, "Be brief."), message(Role::User, " Hi "), message(Role::Assistant, "Hello")]
    }

    #[test]
    fn chatml_without_a_template() {
        let template = Template::new(None).unwrap();
        let text = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n";
        assert_eq!(template.render(&messages(), false).unwrap(), text);
        assert_eq!(template.render(&messages(), true).unwrap(), format!("{text}<|im_start|>assistant\n"));
    }

    #[test]
    fn a_template_has_pythons_methods_and_the_usual_functions() {
        let source = "{%- if messages[0].role == 'system' %}\n    {{- messages[0]['content'].strip().startswith('Be') }}\n{%- endif %}\n\
            {%- for message in messages[1:] %}\n    {{- '[' + message.content.strip() + ']' }}\n{%- endfor %}\n{%- if tools %}tools{%- endif %}";
        assert_eq!(Template::new(Some(source)).unwrap().render(&messages(), true).unwrap(), "True[Hi][Hello]");
        let refuses = Template::new(Some("{{ raise_exception('no\nsystem message') }}")).unwrap();
        let told = refuses.render(&messages(), true).unwrap_err().to_string();
        assert!(told.contains("system message") && !told.contains('\n'), "{told}");
    }

    #[test]
    fn bad_templates_are_errors() {
        assert!(matches!(Template::new(Some("{% for %}")), Err(Error::Template(_))));
        let endless = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        assert!(Template::new(Some(endless)).unwrap().render(&messages(), true).is_err());
    }
}
