//! The text of one choice: bytes to text, text past the stop scanner, scores kept beside the text they belong to.

use crate::core::TokenScores;
use crate::detok::Detok;
use crate::stop::StopScanner;
use std::collections::VecDeque;

/// What may be shown now.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub text: String,
    /// Scores of the tokens whose text is out with this.
    pub scores: Vec<TokenScores>,
    /// Whether a stop text ended the choice.
    pub stopped: bool,
}

/// Scores whose text is still held back: where the token's text begins and ends in the choice's text.
#[derive(Debug)]
struct Pending {
    start: usize,
    end: usize,
    scores: TokenScores,
}

/// The state of one choice's text.
#[derive(Debug)]
pub(super) struct Text {
    detok: Detok,
    stops: StopScanner,
    /// Bytes of text known so far, shown or held back.
    known: usize,
    /// Bytes of text shown so far.
    shown: usize,
    pending: VecDeque<Pending>,
}

impl Text {
    pub fn new(stops: &[String]) -> Self {
        Self { detok: Detok::default(), stops: StopScanner::new(stops), known: 0, shown: 0, pending: VecDeque::new() }
    }

    /// Takes one token's bytes and scores.
    pub fn push(&mut self, bytes: &[u8], scores: Option<TokenScores>) -> Shown {
        let start = self.known;
        let piece = self.detok.push(bytes);
        self.known = self.known.saturating_add(piece.len());
        if let Some(scores) = scores {
            self.pending.push_back(Pending { start, end: self.known, scores });
        }
        let scan = self.stops.push(&piece);
        self.release(scan.text, scan.stopped)
    }

    /// The end of the choice without a stop text: what was held back, unless it completes a stop text now.
    pub fn flush(&mut self) -> Shown {
        let tail = self.detok.finish();
        let scan = self.stops.push(&tail);
        self.known = self.known.saturating_add(tail.len());
        let mut text = scan.text;
        if !scan.stopped {
            text.push_str(&self.stops.finish());
        }
        let mut shown = self.release(text, scan.stopped);
        if !scan.stopped {
            shown.scores.extend(self.pending.drain(..).map(|pending| pending.scores));
        }
        shown
    }

    /// Scores go out with the last byte of their token's text. A stop drops those whose text it swallowed whole.
    fn release(&mut self, text: String, stopped: bool) -> Shown {
        self.shown = self.shown.saturating_add(text.len());
        let mut scores = Vec::new();
        while let Some(next) = self.pending.pop_front() {
            let is_out = if stopped { next.start < self.shown } else { next.end <= self.shown };
            if is_out {
                scores.push(next.scores);
            } else if !stopped {
                self.pending.push_front(next);
                break;
            }
        }
        Shown { text, scores, stopped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Scored;

    fn scored(token: u32) -> Option<TokenScores> {
        Some(TokenScores { chosen: Scored { token, logprob: 0.0 }, top: Vec::new() })
    }

    fn ids(shown: &Shown) -> Vec<u32> {
        shown.scores.iter().map(|scores| scores.chosen.token).collect()
    }

    #[test]
    fn scores_travel_with_their_text() {
        let mut text = Text::new(&["END".into()]);
        let first = text.push(b"ab E", scored(1));
        assert_eq!((first.text.as_str(), ids(&first)), ("ab ", vec![]), "the token's last byte is held back");
        let second = text.push(b"N", scored(2));
        assert_eq!((second.text.as_str(), ids(&second)), ("", vec![]));
        let third = text.push(b"x", scored(3));
        assert_eq!((third.text.as_str(), ids(&third)), ("ENx", vec![1, 2, 3]));
    }

    #[test]
    fn a_stop_drops_the_scores_of_the_text_it_swallowed() {
        let mut text = Text::new(&["END".into()]);
        text.push(b"ab E", scored(1));
        text.push(b"N", scored(2));
        let last = text.push(b"D!", scored(3));
        assert_eq!((last.text.as_str(), ids(&last), last.stopped), ("", vec![1], true));
    }

    #[test]
    fn the_end_releases_what_was_held_back() {
        let mut text = Text::new(&["END".into()]);
        assert_eq!(text.push(b"a EN", scored(1)).text, "a ");
        assert_eq!(text.push(b"\xe2\x82", scored(2)).text, "");
        let rest = text.flush();
        assert_eq!((rest.text.as_str(), ids(&rest)), ("EN\u{fffd}", vec![1, 2]));
    }
}
