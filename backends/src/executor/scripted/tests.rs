use super::*;
use crate::core::Message;
use crate::language::Language;

fn chunk<'a>(pos: usize, tokens: &'a [TokenId], pages: &'a [u32]) -> Chunk<'a> {
    Chunk { slot: 1, pos, tokens, pages, wants_logits: true }
}

fn best(executor: &mut ScriptedExecutor, chunk: Chunk<'_>) -> Result<TokenId, ExecutorError> {
    let output = executor.step(&StepPlan { chunks: vec![chunk] })?;
    let row = &output.logits[0];
    Ok((0..VOCAB_SIZE).max_by(|left, right| row[*left].total_cmp(&row[*right])).unwrap() as TokenId)
}

#[test]
fn words_are_counted_across_digit_lengths() {
    let text: Vec<u8> = (0..800).map(|offset| word_byte(offset) as u8).collect();
    let wanted: String = (1..120).map(|word| format!("word {word} ")).collect();
    assert_eq!(String::from_utf8(text).unwrap(), wanted[..800]);
}

#[test]
fn echo_says_the_last_message_and_ends() {
    let options = ScriptedOptions { script: Script::Echo, ..ScriptedOptions::default() };
    let mut executor = ScriptedExecutor::new(options, "m");
    let message = |text: &str| Message { role: "user".into(), content: text.into() };
    let mut tokens = ScriptedLanguage::default().encode_chat(&[message("no"), message("hé!")]).unwrap();
    let pages = [3, 1, 2];
    let mut said = Vec::new();
    let mut pos = 0;
    loop {
        let token = best(&mut executor, chunk(pos, &tokens[pos..], &pages)).unwrap();
        if token == END {
            break;
        }
        pos = tokens.len();
        said.push(token as u8);
        tokens.push(token);
    }
    assert_eq!(said, "hé!".as_bytes());
}

#[test]
fn a_plan_that_skips_positions_or_pages_is_refused() {
    let mut executor = ScriptedExecutor::new(ScriptedOptions::default(), "m");
    assert!(best(&mut executor, chunk(5, &[1], &[0])).is_err(), "position 4 was not computed");
    assert!(best(&mut executor, chunk(0, &[1; 17], &[0])).is_err(), "no page for position 16");
    assert!(best(&mut executor, chunk(0, &[1], &[9999])).is_err(), "no such page");
}
