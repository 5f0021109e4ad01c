//! Text for the terminal: made harmless, and broken into lines.

use k8s_openapi::jiff::Timestamp;
use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm};

/// Makes text from elsewhere safe to show: it may come from another owner's cluster, and control characters in it could
/// rewrite what is on the screen.
pub(crate) fn clean(words: &str) -> String {
    let visible = words.chars().map(|c| if c.is_control() { ' ' } else { c });
    let visible: String = visible.filter(|c| !is_direction_control(*c)).collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Characters that turn the reading direction, with which a text can be made to show as another.
fn is_direction_control(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Breaks words into lines of at most `width` characters, the first behind `first`, the others behind as many spaces.
/// Names such as `acme-eu-1` are not broken at their hyphens.
pub(crate) fn wrap(first: &str, words: &str, width: usize) -> String {
    let indent = " ".repeat(first.chars().count());
    let options = Options::new(width)
        .initial_indent(first)
        .subsequent_indent(&indent)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::FirstFit);
    textwrap::fill(words, options) + "\n"
}

/// How long ago, in the one or two largest units, as `kubectl` has it.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0..=1) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m"),
        (0, 1..=2, _) => format!("{hours}h{}m", minutes % 60),
        (0..=1, ..) => format!("{hours}h"),
        _ => format!("{days}d"),
    }
}

/// `1 member`, `2 members`.
pub(crate) fn count(number: usize, singular: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {singular}{plural}")
}

/// Of a list for one line: the first, and how many others there are, `unlisted` among them.
pub(crate) fn first_few(all: &[String], unlisted: usize) -> String {
    const NAMED: usize = 3;
    let named = &all[..all.len().min(NAMED)];
    let text = named.join("; ");
    match all.len() + unlisted - named.len() {
        0 => text,
        others => format!("{text}; and {others} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_from_elsewhere_cannot_steer_the_terminal() {
        assert_eq!(
            clean("denied\u{1b}[2K\r\n\tby \u{202e}policy"),
            "denied [2K by policy"
        );
    }

    #[test]
    fn long_words_are_broken_between_words_and_indented() {
        assert_eq!(wrap("a: ", "one two three", 10), "a: one two\n   three\n");
        assert_eq!(
            wrap("a: ", "incomprehensibilities two", 10),
            "a: incomprehensibilities\n   two\n"
        );
        assert_eq!(
            wrap("", "acme-eu-1 beta-us-1", 12),
            "acme-eu-1\nbeta-us-1\n"
        );
    }

    #[test]
    fn times_are_told_in_their_largest_units() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let told =
            [5, 119, 120, 3600, 5400, 3 * 3600, 47 * 3600, 48 * 3600].map(|s| ago(at(0), at(s)));
        assert_eq!(
            told,
            ["5s", "119s", "2m", "1h0m", "1h30m", "3h", "47h", "2d"]
        );
        assert_eq!(ago(at(9), at(0)), "0s", "clocks differ");
    }
}
