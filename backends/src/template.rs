//! A model's own chat template: messages in, the tokens of a prompt out.
//!
//! Owns: the template language as Hugging Face runs it (Jinja with trimmed blocks and Python's string methods), and the
//! guarantee that a message can't forge the conversation's structure: `<|im_end|>` inside a message is eleven
//! characters of text, never the token that ends it.
//!
//! How: before rendering, a guard character is put into every place of a message where a special token's text begins
//! (or could begin and go on in what follows). The guarded text no longer spells a special token; the template's own
//! text still does. The tokenizer splits at the special tokens first and takes the guards out after. The guard is a
//! Unicode noncharacter that the messages don't contain, and it never stands at a message's edge beside white space,
//! so `trim` and the like do what the template's author expects.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value, context};

use crate::core::{Message, TokenId};
use crate::tokenizer::Tokenizer;

/// Why a conversation has no prompt.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The template is not valid.
    #[error("the model's chat template is not valid")]
    Source(#[source] Error),
    /// The template refused the messages, in its own words.
    #[error("{0}")]
    Refused(String),
    /// The messages hold every character that could guard them.
    #[error("the messages hold all 32 Unicode noncharacters from U+FDD0 on")]
    Guard,
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Compiles `source`; `bos` and `eos` are the texts that it may write for the model's own tokens.
    ///
    /// # Errors
    /// [`TemplateError::Source`] when the template is not valid.
    pub fn new(source: String, bos: &str, eos: &str) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(TemplateError::Source)?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |text: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, text))
        });
        environment.add_template_owned("chat", source).map_err(TemplateError::Source)?;
        Ok(Self { environment, bos: bos.to_owned(), eos: eos.to_owned() })
    }

    /// The conversation's tokens, up to where the assistant's answer begins.
    ///
    /// # Errors
    /// [`TemplateError::Refused`] with the template's own words.
    pub fn render_tokens(&self, messages: &[Message], tokenizer: &Tokenizer) -> Result<Vec<TokenId>, TemplateError> {
        let guard = unused_noncharacter(messages).ok_or(TemplateError::Guard)?;
        let specials: Vec<&str> = tokenizer.special_texts().collect();
        let guarded: Vec<Message> = messages
            .iter()
            .map(|message| Message {
                role: protect(&message.role, &specials, guard),
                content: protect(&message.content, &specials, guard),
            })
            .collect();
        Ok(tokenizer.encode_marked(&self.render(&guarded)?, guard))
    }

    fn render(&self, messages: &[Message]) -> Result<String, TemplateError> {
        let template = self.environment.get_template("chat").map_err(TemplateError::Source)?;
        let messages: Vec<Value> =
            messages.iter().map(|m| context! { role => m.role.as_str(), content => m.content.as_str() }).collect();
        let (bos, eos) = (self.bos.as_str(), self.eos.as_str());
        let values = context! { messages, add_generation_prompt => true, bos_token => bos, eos_token => eos };
        template
            .render(values)
            .map_err(|e| TemplateError::Refused(e.detail().map_or_else(|| e.to_string(), str::to_owned)))
    }
}

/// The first noncharacter that no message contains.
fn unused_noncharacter(messages: &[Message]) -> Option<char> {
    ('\u{FDD0}'..='\u{FDEF}').find(|c| messages.iter().all(|m| !m.content.contains(*c) && !m.role.contains(*c)))
}

/// `text` with `guard` after the first character of everything that is, or could become, a special token's text.
fn protect(text: &str, specials: &[&str], guard: char) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        out.push(c);
        let tail = text.get(at..).unwrap_or_default();
        if specials.iter().any(|special| tail.starts_with(special) || special.starts_with(tail)) {
            out.push(guard);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(role: &str, content: &str) -> Message {
        Message { role: role.to_owned(), content: content.to_owned() }
    }

    fn render(source: &str, messages: &[Message]) -> Result<String, TemplateError> {
        ChatTemplate::new(source.to_owned(), "<s>", "</s>")?.render(messages)
    }

    #[test]
    fn blocks_are_trimmed_and_python_methods_work() {
        let source = "{% for m in messages %}\n    {% if m.role == 'user' %}\n{{ m.content.strip().upper() }};\n    {% endif %}\n{% endfor %}{{ bos_token }}";
        let text = render(source, &[message("user", " a "), message("user", "b")]).unwrap();
        assert_eq!(text, "A;\nB;\n<s>");
    }

    #[test]
    fn a_template_refuses_in_its_own_words() {
        let source = "{% if messages[0].role != 'user' %}{{ raise_exception('the first message must be from the user') }}{% endif %}";
        let error = render(source, &[message("tool", "x")]).unwrap_err();
        assert_eq!(error.to_string(), "the first message must be from the user");
        assert!(matches!(render("{% if %}", &[]), Err(TemplateError::Source(_))));
    }

    #[test]
    fn every_begun_special_is_guarded_and_nothing_else_changes() {
        let specials = ["<|im_end|>", "<|im_start|>"];
        assert_eq!(protect("a <|im_end|> b", &specials, '#'), "a <#|im_end|> b");
        assert_eq!(protect("half <|im_", &specials, '#'), "half <#|im_");
        assert_eq!(protect("<<|im_end|>", &specials, '#'), "<<#|im_end|>");
        assert_eq!(protect("x < y, <b>, |im_end|>", &specials, '#'), "x < y, <b>, |im_end|>");
    }

    #[test]
    fn the_guard_is_a_character_that_the_messages_lack() {
        assert_eq!(unused_noncharacter(&[message("user", "\u{FDD0}")]), Some('\u{FDD1}'));
        let all: String = ('\u{FDD0}'..='\u{FDEF}').collect();
        assert_eq!(unused_noncharacter(&[message("user", &all)]), None);
    }
}
