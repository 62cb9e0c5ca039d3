//! What of the input an answer rests on: the expressions that held where a definition decided, those that failed where
//! none did, and so on through the rules that they read.

use std::collections::BTreeSet;

use super::{Change, Definition, End, Failed, Read, RuleStory};

/// The members, in the order in which the rules are told; the first rule is the one that was asked.
pub(super) fn of(rules: &[RuleStory]) -> Vec<Change> {
    let mut all: Vec<Change> = Vec::new();
    let (mut seen, mut next) = (BTreeSet::new(), rules.first().into_iter().collect::<Vec<_>>());
    while let Some(story) = next.pop() {
        if !seen.insert(story.rule.as_str()) {
            continue;
        }
        for (definition, expression) in expressions(story) {
            for change in changes(definition, expression) {
                if !all.contains(&change) {
                    all.push(change);
                }
            }
            next.extend(rules.iter().filter(|other| expression.rules.contains(&other.rule)));
        }
    }
    all
}

/// What a rule's value rests on.
fn expressions(story: &RuleStory) -> Vec<(&Definition, &Failed)> {
    let held: Vec<_> = story.definitions.iter().filter(|one| one.end == End::Held).collect();
    if !held.is_empty() {
        return held.into_iter().flat_map(|one| one.rests_on.iter().map(move |each| (one, each))).collect();
    }
    let failed = story.definitions.iter().filter_map(|one| match &one.end {
        End::Failed(failed) => Some((one, failed)),
        End::Held | End::NotReached | End::Default | End::Unused | End::NotAsked => None,
    });
    failed.collect()
}

fn changes(definition: &Definition, expression: &Failed) -> Vec<Change> {
    let change = |member: &Read| {
        let is_side = |side: &&Read| side.text == member.text;
        let is_compared = expression.compared.iter().any(|side| is_side(&side));
        let other = expression.compared.iter().find(|side| !is_side(side)).filter(|_| is_compared);
        let text = format!("{}:{}: {}", definition.file, expression.line, expression.text);
        Change { expression: text, member: member.clone(), compared_to: other.cloned() }
    };
    expression.reads.iter().map(change).collect()
}
