//! Gemini's way of counting: cached tokens are inside the prompt's, thoughts and what its tools read stand beside; and
//! each count may be told again by kind.

use super::leaves::Leaves;
use super::{Broken, Cached, Fault, Kinds, input, rest};
use crate::usage::buckets::{Bucket, Buckets};

/// `generateContent`.
pub(super) fn generate(leaves: &Leaves) -> Result<Buckets, Broken> {
    let (prompt, answer) = (leaves.zero("promptTokenCount")?, leaves.zero("candidatesTokenCount")?);
    let (thoughts, tools) = (leaves.zero("thoughtsTokenCount")?, leaves.zero("toolUsePromptTokenCount")?);
    let cached = leaves.zero("cachedContentTokenCount")?;
    let sum = |parts: &[u64]| parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(*part)).ok_or(Fault::Total);
    let totals = (sum(&[prompt, tools])?, sum(&[answer, thoughts])?);
    let broken = |fault| Broken { totals: Some(totals), fault };
    let total = leaves.count("totalTokenCount")?.filter(|total| *total > 0);
    let answer = match total {
        None => answer,
        Some(total) if total == sum(&[totals.0, totals.1])? => answer,
        // Where the thoughts are inside the answer's.
        Some(total) if total == sum(&[totals.0, answer])? => {
            rest(answer, &[thoughts], Fault::Output).map_err(broken)?
        }
        Some(_) => return Err(broken(Fault::Total)),
    };
    let mut buckets = Buckets::NONE.with(Bucket::Reasoning, thoughts);
    let parts = inputs(leaves, prompt, cached, &mut buckets)
        .and_then(|()| kinds(leaves, "toolUsePromptTokensDetails", tools))
        .and_then(|tools| input(tools, &Cached::Unsaid(0), &mut buckets))
        .and_then(|()| outputs(leaves, answer, &mut buckets));
    parts.map_err(broken)?;
    Ok(buckets)
}

fn inputs(leaves: &Leaves, prompt: u64, cached: u64, buckets: &mut Buckets) -> Result<(), Fault> {
    let of = kinds(leaves, "promptTokensDetails", prompt)?;
    let cached = match leaves.has("cacheTokensDetails") {
        true => Cached::ByKind(kinds(leaves, "cacheTokensDetails", cached)?),
        false => Cached::Unsaid(cached),
    };
    input(of, &cached, buckets)
}

fn outputs(leaves: &Leaves, answer: u64, buckets: &mut Buckets) -> Result<(), Fault> {
    let Kinds { text, image, video, audio } =
        kinds(leaves, "candidatesTokensDetails", answer).map_err(|_| Fault::Output)?;
    buckets.add(Bucket::OutputText, text.checked_add(video).ok_or(Fault::Output)?);
    buckets.add(Bucket::OutputImage, image);
    buckets.add(Bucket::OutputAudio, audio);
    Ok(())
}

/// The kinds of so many tokens; all are text where nothing is said of kinds.
fn kinds(leaves: &Leaves, list: &str, whole: u64) -> Result<Kinds, Fault> {
    if !leaves.has(list) {
        return Ok(Kinds { text: whole, ..Kinds::default() });
    }
    let mut kinds = Kinds::default();
    for (modality, count) in leaves.list(list, "tokenCount") {
        let kind = match modality {
            "IMAGE" | "DOCUMENT" => &mut kinds.image,
            "AUDIO" => &mut kinds.audio,
            "VIDEO" => &mut kinds.video,
            _text => &mut kinds.text,
        };
        *kind = kind.saturating_add(count);
    }
    match rest(whole, &[kinds.text, kinds.image, kinds.audio, kinds.video], Fault::Input) {
        Ok(0) => Ok(kinds),
        Ok(_) | Err(_) => Err(Fault::Input),
    }
}
