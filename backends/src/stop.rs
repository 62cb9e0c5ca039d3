//! Stop texts across token borders.
//!
//! ```text
//! stop "END":  …abc E | N | x      "E" and "EN" are held back: they may become "END"; at "x" all is released
//!              …abc E | N | D      the stop: nothing of "END" is ever shown, the choice ends
//! ```
//! The stop that is complete first wins; of those complete at the same byte, the longest. So the result does not
//! depend on how the text was split.

use memchr::memmem;

/// What one piece of text led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Text that no stop can cover any more.
    pub text: String,
    /// Whether a stop text was met; the scanner takes nothing after it.
    pub stopped: bool,
}

/// Looks for stop texts in one choice's stream.
#[derive(Debug)]
pub struct StopScanner {
    stops: Vec<String>,
    held: String,
}

impl StopScanner {
    /// A scanner for these texts; empty ones are ignored.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stops, held: String::new() }
    }

    /// Takes the next piece; holds back only the longest suffix that can still become a stop text.
    pub fn push(&mut self, piece: &str) -> Scan {
        self.held.push_str(piece);
        if let Some(start) = self.first_stop() {
            let text = self.held.get(..start).unwrap_or_default().to_owned();
            self.held.clear();
            return Scan { text, stopped: true };
        }
        let tail = self.held.split_off(self.held.len().saturating_sub(self.held_back()));
        Scan { text: std::mem::replace(&mut self.held, tail), stopped: false }
    }

    /// The end of the choice without a stop: releases what was held back.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Where the winning stop begins.
    fn first_stop(&self) -> Option<usize> {
        self.stops
            .iter()
            .filter_map(|stop| {
                let start = memmem::find(self.held.as_bytes(), stop.as_bytes())?;
                Some((start.saturating_add(stop.len()), start))
            })
            .min()
            .map(|(_, start)| start)
    }

    /// Bytes at the end that are a proper beginning of a stop. Bounded by the longest stop.
    fn held_back(&self) -> usize {
        self.stops
            .iter()
            .filter_map(|stop| {
                (1..stop.len())
                    .rev()
                    .filter(|size| stop.is_char_boundary(*size))
                    .find(|size| stop.get(..*size).is_some_and(|head| self.held.ends_with(head)))
            })
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, String, bool) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut scanner = StopScanner::new(&stops);
        let mut shown = Vec::new();
        for piece in pieces {
            let scan = scanner.push(piece);
            shown.push(scan.text);
            if scan.stopped {
                let whole = shown.concat();
                return (shown, whole, true);
            }
        }
        shown.push(scanner.finish());
        let whole = shown.concat();
        (shown, whole, false)
    }

    #[test]
    fn only_the_suffix_that_can_become_a_stop_is_held_back() {
        type Row<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str], bool);
        let table: &[Row<'_>] = &[
            (&["END"], &["abcE", "N", "x"], &["abc", "", "ENx", ""], false),
            (&["END"], &["abcE", "N", "Dtail"], &["abc", "", ""], true),
            (&["\n\n"], &["a\n", "b\n", "\nc"], &["a", "\nb", ""], true),
            (&["aab"], &["aa", "a", "b"], &["", "a", ""], true),
            (&["é!"], &["caf", "é", "?"], &["caf", "", "é?", ""], false),
            (&[], &["a", "b"], &["a", "b", ""], false),
        ];
        for (stops, pieces, shown, stopped) in table {
            let (got, _, hit) = run(stops, pieces);
            assert_eq!((got, hit), (shown.iter().map(ToString::to_string).collect(), *stopped), "{stops:?} {pieces:?}");
        }
    }

    #[test]
    fn the_stop_that_is_complete_first_wins_and_then_the_longest() {
        assert_eq!(run(&["cd", "bcde"], &["abcdef"]).1, "ab");
        assert_eq!(run(&["d", "bcd"], &["abcdef"]).1, "a");
    }

    proptest! {
        #[test]
        fn every_split_gives_the_same_text(
            text in "[abé]{0,24}",
            stops in proptest::collection::vec("[abé]{1,4}", 0..4),
            splits in proptest::collection::vec(1usize..5, 1..24),
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let chars: Vec<char> = text.chars().collect();
            let mut pieces = Vec::new();
            let mut at = 0usize;
            for size in splits.into_iter().chain([usize::MAX]) {
                let end = at.saturating_add(size).min(chars.len());
                pieces.push(chars[at..end].iter().collect::<String>());
                at = end;
            }
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let (_, split, split_hit) = run(&stops, &pieces);
            let (_, whole, whole_hit) = run(&stops, &[&text]);
            prop_assert_eq!((&split, split_hit), (&whole, whole_hit));
            prop_assert!(stops.iter().all(|stop| !split.contains(stop)));
            prop_assert_eq!(whole_hit, stops.iter().any(|stop| text.contains(stop)));
        }
    }
}
