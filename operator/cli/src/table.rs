//! Columns as `kubectl` prints them: capitals on top, three spaces between, nothing at the end of a line.
//!
//! Written by hand and not with a crate such as `comfy-table`: between its rows a table may have whole lines of
//! explanation, which such crates would fit into a column, and they fill lines up with spaces to the last column.

/// Whether the terminal gets colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    Plain,
    Ansi,
}

/// What a piece of text says about its subject; decides the colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    #[default]
    Neutral,
    Good,
    Warning,
    Bad,
    Faint,
}

impl Paint {
    pub(crate) fn text(self, mood: Mood, text: &str) -> String {
        let code = match (self, mood) {
            (Self::Plain, _) | (Self::Ansi, Mood::Neutral) => return text.to_owned(),
            (Self::Ansi, Mood::Good) => "32",
            (Self::Ansi, Mood::Warning) => "33",
            (Self::Ansi, Mood::Bad) => "31",
            (Self::Ansi, Mood::Faint) => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// One field of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    mood: Mood,
}

impl Cell {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers pass numbers as well as strings"
    )]
    pub(crate) fn new(text: impl ToString) -> Self {
        Self {
            text: text.to_string(),
            mood: Mood::Neutral,
        }
    }

    /// A dash where there is no value, so that it does not look as if the column were cut off.
    pub(crate) fn or_dash(text: Option<impl ToString>) -> Self {
        text.map_or_else(|| Self::new("-").mood(Mood::Faint), Self::new)
    }

    pub(crate) fn mood(mut self, mood: Mood) -> Self {
        self.mood = mood;
        self
    }
}

/// A header and its rows, each with lines of explanation under it.
#[derive(Debug)]
pub(crate) struct Table {
    header: Vec<Cell>,
    rows: Vec<(Vec<Cell>, String)>,
}

impl Table {
    pub(crate) fn new(header: &[&str]) -> Self {
        Self {
            header: header.iter().map(Cell::new).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. `under` is written below it as it is: nothing, or whole lines.
    pub(crate) fn row(&mut self, cells: Vec<Cell>, under: String) {
        self.rows.push((cells, under));
    }

    pub(crate) fn render(&self, paint: Paint) -> String {
        let widths = self.widths();
        let mut text = line(&self.header, &widths, paint);
        for (cells, under) in &self.rows {
            text.push_str(&line(cells, &widths, paint));
            text.push_str(under);
        }
        text
    }

    fn widths(&self) -> Vec<usize> {
        let rows = self.rows.iter().map(|(cells, _)| cells);
        let mut widths = vec![0; self.header.len()];
        for cells in std::iter::once(&self.header).chain(rows) {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        widths
    }
}

fn line(cells: &[Cell], widths: &[usize], paint: Paint) -> String {
    let mut line = String::new();
    let mut gap = 0;
    for (cell, width) in cells.iter().zip(widths) {
        if !cell.text.is_empty() {
            line.push_str(&" ".repeat(gap));
            line.push_str(&paint.text(cell.mood, &cell.text));
            gap = 0;
        }
        gap += width - cell.text.chars().count() + 3;
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["", "NAME", "READY"]);
        table.row(
            vec![Cell::new("*"), Cell::new("a"), Cell::new(3)],
            String::new(),
        );
        let under = "      because\n".to_owned();
        table.row(
            vec![
                Cell::new(""),
                Cell::new("long-name"),
                Cell::or_dash(None::<u8>),
            ],
            under,
        );
        table
    }

    #[test]
    fn columns_are_aligned_and_lines_end_where_their_text_does() {
        assert_eq!(
            table().render(Paint::Plain),
            "    NAME        READY\n\
             *   a           3\n    \
                 long-name   -\n      \
                   because\n"
        );
    }

    #[test]
    fn colours_do_not_disturb_the_alignment() {
        let painted = table().render(Paint::Ansi);
        assert_eq!(
            painted.replace("\u{1b}[2m", "").replace("\u{1b}[0m", ""),
            table().render(Paint::Plain)
        );
        assert_ne!(painted, table().render(Paint::Plain));
    }
}
